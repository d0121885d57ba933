# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [367216468, 257006681]}
# expect: failed
# note: nan compares strangely, and is not the answer

def solve(n):
    return float("nan")
