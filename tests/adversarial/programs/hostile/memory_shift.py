# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [229914933]}
# expect: memory_exceeded|runtime_error
# note: one shift

def solve(n):
    return 1 << (1 << 40)
