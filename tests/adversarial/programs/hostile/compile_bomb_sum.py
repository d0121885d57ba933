# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [302725567, 357926741]}
# expect: compile_error|runtime_error|failed
# timeout_s: 3
# note: a hundred thousand additions
# source_expression: 'x = ' + '1+' * 100000 + '1'
