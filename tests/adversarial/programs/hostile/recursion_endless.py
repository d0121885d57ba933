# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [746179660]}
# expect: runtime_error
# note: RecursionError

def solve(n):
    return solve(n + 1)
