# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [211978829, 476569101]}
# expect: failed
# note: an exception as a value

def solve(n):
    return SystemExit(0)
