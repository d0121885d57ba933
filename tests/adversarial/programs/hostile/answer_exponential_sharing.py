# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [[138676264, 319982306, 405829246], [430928076, 201699490, 399407865]]}
# expect: failed|runtime_error|timeout|memory_exceeded
# timeout_s: 1
# note: small in memory, 2**60 elements when written out

def solve(n):
    value = [n]
    for _ in range(60):
        value = [value, value]
    return value
