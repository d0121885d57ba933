# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [391933826, 860870226]}
# expect: runtime_error
# note: as if closed

def solve(n):
    raise GeneratorExit
