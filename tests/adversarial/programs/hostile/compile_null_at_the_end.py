# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [181829274, 195410981]}
# expect: compile_error
# note: a null character at the end
# source: "def solve(n):\n    return n\n\u0000"
