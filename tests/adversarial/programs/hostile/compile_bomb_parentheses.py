# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [675581439, 767588062]}
# expect: compile_error
# timeout_s: 3
# note: five thousand parentheses
# source_expression: '(' * 5000 + ')' * 5000
