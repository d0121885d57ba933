# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [758882131, 726036056]}
# expect: failed
# timeout_s: 5
# note: finds the tracer's sets of lines and fills them

import gc


def solve(n):
    for thing in gc.get_objects():
        if type(thing) is dict:
            for key, value in list(thing.items()):
                if type(key) is str and key.endswith("solution.py") and type(value) is set:
                    value.update(range(-5, 10_000))
                    value.add("line")
    return 0
