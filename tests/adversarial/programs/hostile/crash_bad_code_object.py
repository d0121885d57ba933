# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [588746294]}
# expect: runtime_error
# note: runs bytes that are no code

import types


def solve(n):
    code = solve.__code__.replace(co_code=b"\xff\xff\x64\xff" * 8, co_consts=(), co_stacksize=1)
    return types.FunctionType(code, {})()
