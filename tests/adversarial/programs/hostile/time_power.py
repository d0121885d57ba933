# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [937819691]}
# expect: timeout
# timeout_s: 1
# note: one operation

def solve(n):
    return (3 ** 10**9) % 10
