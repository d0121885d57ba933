# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [775349387, 349922793]}
# expect: failed|runtime_error
# note: builtins.open and io.open

import builtins
import io
import os

builtins.open = io.open = os.open = lambda *args, **kwargs: None


def solve(n):
    return 0
