# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [534936315, 358654238]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: millions of digits

def solve(n):
    return 1 << 80_000_000
