# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [245353002, 262743994]}
# expect: compile_error
# timeout_s: 3
# note: calls in calls
# source_expression: 'x = ' + 'f(' * 50000 + ')' * 50000
