# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [430777381, 374983476]}
# expect: runtime_error
# note: as if by Ctrl-C

def solve(n):
    raise KeyboardInterrupt
