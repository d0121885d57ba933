# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [450749673, 412822003]}
# expect: compile_error
# note: found by the compiler, not by the parser
# source: "def solve(n):\n    await n\n"
