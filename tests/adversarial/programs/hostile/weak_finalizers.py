# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["mh39z9p33ezr\n"]}
# expect: failed|timeout
# timeout_s: 1
# note: called at the very end

import sys
import weakref


class Thing:
    pass


def forever():
    while True:
        pass


thing = Thing()
weakref.finalize(thing, forever)
print("wrong")
