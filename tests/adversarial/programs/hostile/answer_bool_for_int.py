# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [1]}
# expect: failed
# note: True is not 1 here

def solve(n):
    return True
