# tests: {"type": "call", "fn_name": "solve", "inputs": [[[3, 1, 2]], [[5, 4]]], "outputs": [[814834246, 496751644], [200007930, 696944061]]}
# expect: failed
# note: changes its arguments

def solve(values):
    values.clear()
    values.extend(range(10))
    return values
