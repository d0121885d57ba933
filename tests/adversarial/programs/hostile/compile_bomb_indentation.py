# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [205345727, 455725376]}
# expect: compile_error
# timeout_s: 3
# note: a hundred and fifty levels
# source_expression: ''.join(' ' * i + 'if x:\n' for i in range(150)) + ' ' * 150 + 'pass'
