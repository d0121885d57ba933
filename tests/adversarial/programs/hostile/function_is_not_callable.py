# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [901326721, 579584636]}
# expect: runtime_error
# note: a value of that name

solve = 5
