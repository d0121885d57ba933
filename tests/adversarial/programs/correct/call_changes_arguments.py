# tests: {"type": "call", "fn_name": "solve", "inputs": [[[3, 1, 2]], [[5, 4]]], "outputs": [[1, 2, 3], [4, 5]]}
# expect: passed
# note: each test has arguments of its own

def solve(values):
    values.sort()
    return values
