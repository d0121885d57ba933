# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [819010267, 143626635]}
# expect: runtime_error
# note: nothing of that name

def solution(n):
    return n
