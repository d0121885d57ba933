# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [645042594, 343279785]}
# expect: compile_error
# note: one byte order mark may be forgiven, two may not
# source: "\ufeff\ufeffdef solve(n):\n    return n\n"
