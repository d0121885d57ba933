# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [716693433]}
# expect: memory_exceeded|timeout
# timeout_s: 5
# note: ten thousand million numbers

def solve(n):
    return list(range(10**10))
