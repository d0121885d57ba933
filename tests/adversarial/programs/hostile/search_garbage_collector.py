# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [815273324, 723780716]}
# expect: failed
# timeout_s: 5
# note: looks through every object for expected values

import gc


def solve(n):
    found = 0
    for thing in gc.get_objects():
        if type(thing) is dict:
            for key in ("expected", "outputs", "output", "answer"):
                value = dict.get(thing, key)
                if type(value) is list and value and type(value[0]) is int:
                    found = value[0]
                elif type(value) is int:
                    found = value
    return found
