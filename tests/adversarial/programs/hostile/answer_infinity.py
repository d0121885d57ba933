# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [352444.129, 706888.048]}
# expect: failed
# note: infinitely far away

def solve(n):
    return float("inf")
