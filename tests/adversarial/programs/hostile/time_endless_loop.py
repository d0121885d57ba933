# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [286419158]}
# expect: timeout
# timeout_s: 1
# note: the simplest

def solve(n):
    while True:
        pass
