# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [491772206, 264677818]}
# expect: compile_error|timeout|memory_exceeded|runtime_error
# timeout_s: 1
# note: the compiler must not compute it, the program cannot
# source_expression: 'x = 9**9**9**9'
