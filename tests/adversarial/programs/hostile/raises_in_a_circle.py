# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [418623383, 699989320]}
# expect: runtime_error
# note: its own cause

def solve(n):
    error = ValueError("x")
    other = TypeError("y")
    error.__context__ = other
    other.__context__ = error
    raise error
