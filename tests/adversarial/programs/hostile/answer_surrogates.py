# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": ["fz4e2fjbc9nr", "2uu4nm42292s"]}
# expect: failed
# note: text that UTF-8 cannot encode

def solve(n):
    return "\ud800\udfff" * 3
