# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [795859461, 168196667]}
# expect: compile_error|runtime_error
# timeout_s: 3
# note: a hundred thousand negations
# source_expression: 'not ' * 100000 + '1'
