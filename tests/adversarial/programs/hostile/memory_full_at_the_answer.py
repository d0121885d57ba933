# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [110849527, 111964674]}
# expect: failed|memory_exceeded|runtime_error|timeout
# timeout_s: 5
# note: leaves the harness no memory to report with

kept = []


def solve(n):
    size = 2**24
    while size > 16:
        try:
            kept.append(bytearray(size))
        except MemoryError:
            size //= 2
    return list(range(n))
