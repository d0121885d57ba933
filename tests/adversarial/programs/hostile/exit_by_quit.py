# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [763531008, 659486898]}
# expect: runtime_error
# note: what one types at the prompt

def solve(n):
    quit()
