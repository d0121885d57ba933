# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [1]}
# expect: failed
# note: "1" is not 1

def solve(n):
    return "1"
