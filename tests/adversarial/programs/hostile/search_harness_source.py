# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [396968685, 703784759]}
# expect: failed|runtime_error
# note: reads the executor's source for a way out

import inspect
import sys


def solve(n):
    try:
        return len(inspect.getsource(sys.modules["stepcoder_trl.executor.child"]))
    except (OSError, KeyError, TypeError):
        return 0
