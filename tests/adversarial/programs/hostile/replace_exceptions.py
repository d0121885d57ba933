# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [805451014, 297197417]}
# expect: failed|runtime_error
# note: exception names that catch nothing, or everything

import builtins

builtins.SystemExit = builtins.MemoryError = builtins.OSError = ZeroDivisionError
builtins.BaseException = builtins.Exception = builtins.AssertionError = ZeroDivisionError


def solve(n):
    raise KeyboardInterrupt
