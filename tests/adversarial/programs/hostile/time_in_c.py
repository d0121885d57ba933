# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [636736350]}
# expect: timeout
# timeout_s: 1
# note: a loop in C that never looks at signals

def solve(n):
    return sum(range(10**14))
