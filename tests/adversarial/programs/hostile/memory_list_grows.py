# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [201449707]}
# expect: memory_exceeded|timeout
# timeout_s: 5
# note: grows by and by

def solve(n):
    value = []
    while True:
        value.append([0] * 10_000)
