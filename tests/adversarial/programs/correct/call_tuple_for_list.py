# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [[7, 14], [8, 16]]}
# expect: passed
# note: a tuple is as good as a list

def solve(n):
    return n, n * 2
