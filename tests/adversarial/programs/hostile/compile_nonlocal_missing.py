# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [844906739, 475474529]}
# expect: compile_error
# note: found by the symbol table
# source: "def solve(n):\n    nonlocal x\n"
