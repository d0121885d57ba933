# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [354006119]}
# expect: failed|runtime_error
# note: frees a structure a million levels deep

def solve(n):
    value = None
    for _ in range(1_000_000):
        value = (value,)
    del value
    return 0
