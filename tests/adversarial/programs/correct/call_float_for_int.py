# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [-3]], "outputs": [14, -6]}
# expect: passed
# note: 14.0 is 14

def solve(n):
    return n * 2.0
