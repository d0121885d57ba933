# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [754534134, 657425821]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: the code objects of the executor's functions

import sys
import types


def always(*args, **kwargs):
    return {"held": True}


for name, module in list(sys.modules.items()):
    if name.startswith("stepcoder_trl"):
        for value in list(vars(module).values()):
            if isinstance(value, types.FunctionType) and not value.__code__.co_freevars:
                value.__code__ = always.__code__


def solve(n):
    return 0
