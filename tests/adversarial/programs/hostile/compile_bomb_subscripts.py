# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [133692819, 203066518]}
# expect: compile_error|runtime_error
# timeout_s: 3
# note: a hundred thousand subscripts
# source_expression: 'x = a' + '[0]' * 100000
