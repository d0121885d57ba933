# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [403286316, 105755448]}
# expect: compile_error
# note: a name that is no name
# source: "__debug__ = 0\ndef solve(n):\n    return n\n"
