# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [476629100, 702432371]}
# expect: compile_error
# note: found by the symbol table
# source: "def solve(n, n):\n    return n\n"
