# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [138441528, 955869499]}
# expect: runtime_error|timeout|compile_error
# timeout_s: 5
# note: a large table, compiled in time or not
# source_expression: 'x = {' + ''.join('%d: %d, ' % (i, i) for i in range(100000)) + '}'
