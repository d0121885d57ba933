# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [112239942, 119771080]}
# expect: compile_error|runtime_error|failed
# timeout_s: 3
# note: one comparison
# source_expression: 'x = 1' + ' < 1' * 50000
