# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [941600181, 458772656]}
# expect: failed|runtime_error
# note: every import gives the same useless object

import builtins

builtins.__import__ = lambda *args, **kwargs: None


def solve(n):
    import os

    return 0 if os is None else 1
