# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [850970534, 413615932]}
# expect: compile_error
# timeout_s: 3
# note: texts in texts
# source_expression: 'x = ' + 'f"{' * 200 + '1' + '}"' * 200
