# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [559975276, 705412304]}
# expect: compile_error|runtime_error
# timeout_s: 3
# note: a hundred thousand attributes
# source_expression: 'x = a' + '.a' * 100000
