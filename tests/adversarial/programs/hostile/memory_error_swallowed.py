# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [849940953]}
# expect: timeout|memory_exceeded|runtime_error
# timeout_s: 1
# note: tries again for ever

def solve(n):
    kept = []
    while True:
        try:
            kept.append(bytearray(2**20))
        except MemoryError:
            pass
