# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [193514713, 103460848]}
# expect: compile_error|runtime_error
# timeout_s: 3
# note: functions in functions
# source_expression: 'x = ' + 'lambda: ' * 5000 + '1'
