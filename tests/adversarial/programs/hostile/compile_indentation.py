# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [805145205, 336509038]}
# expect: compile_error
# note: no indentation
# source: "def solve(n):\nreturn n\n"
