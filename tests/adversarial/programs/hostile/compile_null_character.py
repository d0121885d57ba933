# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [176890519, 231069808]}
# expect: compile_error
# note: a null character in the middle
# source: "def solve(n):\n    return 'a\u0000b'\n"
