# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [169222352, 143603841]}
# expect: compile_error|runtime_error
# timeout_s: 3
# note: twenty thousand branches
# source_expression: 'if x: pass\n' + 'elif x: pass\n' * 20000
