# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [181486653, 342003951]}
# expect: compile_error
# note: a character that does not exist
# source: "def solve(n):\n    return '\\N{no such character}'\n"
