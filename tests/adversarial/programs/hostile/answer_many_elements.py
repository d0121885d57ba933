# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [[466184707, 169049087, 989151666], [202129503, 829791136, 868650417]]}
# expect: failed|runtime_error|memory_exceeded|timeout
# timeout_s: 1
# note: tens of millions of elements

def solve(n):
    return [None] * 30_000_000
