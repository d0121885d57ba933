# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [865843240]}
# expect: memory_exceeded
# timeout_s: 5
# note: doubles until it cannot

def solve(n):
    text = "x" * 1024
    while True:
        text += text
