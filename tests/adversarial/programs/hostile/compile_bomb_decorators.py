# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [608708558, 968086877]}
# expect: compile_error|runtime_error
# timeout_s: 3
# note: twenty thousand decorators
# source_expression: '@a\n' * 20000 + 'def solve(n): pass'
