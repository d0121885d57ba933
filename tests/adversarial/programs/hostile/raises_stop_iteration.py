# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [561776216, 926221205]}
# expect: runtime_error
# note: ends somebody's loop

def solve(n):
    raise StopIteration(0)
