# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [903565993, 833047616]}
# expect: compile_error
# note: a parenthesis is missing
# source: "def solve(n:\n    return n\n"
