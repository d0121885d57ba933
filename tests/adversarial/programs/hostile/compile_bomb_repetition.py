# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [953895889, 961202591]}
# expect: memory_exceeded|runtime_error|timeout|compile_error
# timeout_s: 1
# note: the compiler must not compute it
# source_expression: 'x = ' + '(' * 50 + '"a"' + ' * 1000)' * 50
