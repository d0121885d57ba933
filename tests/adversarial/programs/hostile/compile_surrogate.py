# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [882157447, 839002544]}
# expect: compile_error
# note: text that UTF-8 cannot encode
# source: "def solve(n):\n    return '\ud800'\n"
