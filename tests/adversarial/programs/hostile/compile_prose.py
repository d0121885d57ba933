# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [273502466, 962327316]}
# expect: compile_error
# note: an answer, not a program
# source: "Sure! Here is the solution:\n\ndef solve(n):\n    return n\n"
