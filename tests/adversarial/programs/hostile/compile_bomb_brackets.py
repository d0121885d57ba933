# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [179238757, 252224719]}
# expect: compile_error
# timeout_s: 3
# note: brackets without an end
# source_expression: '[' * 100000
