# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [353920165, 198492509]}
# expect: failed|runtime_error
# note: builtins.compile

import builtins

builtins.compile = lambda *args, **kwargs: (lambda: 0).__code__


def solve(n):
    return 0
