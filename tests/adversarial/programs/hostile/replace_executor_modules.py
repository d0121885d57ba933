# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [129637173, 803476690]}
# expect: failed|runtime_error
# note: every function of the executor's modules

import sys

for name, module in list(sys.modules.items()):
    if name.startswith("stepcoder_trl"):
        for key in list(vars(module)):
            if not key.startswith("__"):
                vars(module)[key] = lambda *args, **kwargs: True


def solve(n):
    return 0
