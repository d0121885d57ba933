# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [366225925, 231285489]}
# expect: runtime_error|timeout|compile_error
# timeout_s: 3
# note: a name of five megabytes
# source_expression: 'x' * 5000000 + ' = 1'
