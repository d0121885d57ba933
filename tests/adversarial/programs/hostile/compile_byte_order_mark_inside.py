# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [553785469, 644009289]}
# expect: compile_error
# note: a byte order mark where none belongs
# source: "x = 1\n\ufeffdef solve(n):\n    return n\n"
