# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [849138174, 640197269]}
# expect: runtime_error|timeout|compile_error
# timeout_s: 3
# note: slow, not wrong
# source_expression: 'from os import *\n' * 30000
