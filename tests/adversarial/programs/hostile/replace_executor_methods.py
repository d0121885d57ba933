# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [701272633, 839425274]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: the methods of the executor's classes

import sys

for name, module in list(sys.modules.items()):
    if name.startswith("stepcoder_trl"):
        for value in list(vars(module).values()):
            if isinstance(value, type):
                for key in list(vars(value)):
                    try:
                        setattr(value, key, lambda *args, **kwargs: None)
                    except (TypeError, AttributeError):
                        pass


def solve(n):
    return 0
