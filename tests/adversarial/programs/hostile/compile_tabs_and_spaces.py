# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [480602584, 257815334]}
# expect: compile_error
# note: inconsistent indentation
# source: "def solve(n):\n\tif n:\n        return 1\n"
