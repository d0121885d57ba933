# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [324476478]}
# expect: runtime_error|memory_exceeded|timeout
# timeout_s: 2
# note: recursion that Python does not count

import sys

sys.setrecursionlimit(10**8)


class Deep:
    def __getattr__(self, name):
        return getattr(self, name + "x"[:0])

    def __repr__(self):
        return repr(self)


def solve(n):
    return repr(Deep()) + Deep().a
