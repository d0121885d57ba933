# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [819362648, 914388141]}
# expect: failed|runtime_error
# note: everything is an instance of everything

import builtins

builtins.isinstance = lambda *args: True
builtins.issubclass = lambda *args: True
builtins.type = lambda *args: int
builtins.callable = lambda value: True


def solve(n):
    return object()
