# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [442659559, 602299723]}
# expect: runtime_error
# note: a hundred megabytes of explanation

def solve(n):
    raise ValueError("x" * 100_000_000)
