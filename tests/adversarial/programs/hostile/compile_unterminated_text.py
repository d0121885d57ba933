# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [698443437, 907327614]}
# expect: compile_error
# note: text without an end
# source: "def solve(n):\n    return '''\n"
