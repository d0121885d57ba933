# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [723474710, 290552648]}
# expect: compile_error|runtime_error
# timeout_s: 3
# note: a hundred thousand signs
# source_expression: 'x = ' + '-' * 100000 + '1'
