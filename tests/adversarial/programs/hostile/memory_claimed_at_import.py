# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [355060412, 748559131]}
# expect: memory_exceeded|runtime_error
# note: fills the memory, keeps it, and raises

kept = []
try:
    while True:
        kept.append(bytearray(2**16))
except MemoryError:
    kept.append(None)
    raise


def solve(n):
    return 0
