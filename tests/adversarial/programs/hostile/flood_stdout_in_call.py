# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [457630005, 271468798]}
# expect: runtime_error|failed|timeout
# timeout_s: 2
# note: output that no test asks for

def solve(n):
    for _ in range(400):
        print("y" * 100_000)
    return 0
