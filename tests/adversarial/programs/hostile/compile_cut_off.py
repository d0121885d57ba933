# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [259313432, 796305365]}
# expect: compile_error
# note: cut off in the middle
# source: "def solve(n):\n    for i in range(n):\n        if i % 2 =="
