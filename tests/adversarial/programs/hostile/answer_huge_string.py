# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": ["92pur6bxn4m2", "mnh3dz34zqrb"]}
# expect: failed|runtime_error|memory_exceeded
# timeout_s: 1
# note: two hundred megabytes

def solve(n):
    return "x" * 200_000_000
