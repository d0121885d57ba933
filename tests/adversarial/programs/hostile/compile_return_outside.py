# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [445956555, 216751340]}
# expect: compile_error
# note: found by the compiler, not by the parser
# source: "return 5\n"
