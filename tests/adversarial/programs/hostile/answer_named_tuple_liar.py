# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [[836071347, 749648158, 711010524], [667381002, 850011921, 963511774]]}
# expect: failed
# note: a tuple by inheritance

from collections import namedtuple


class Triple(namedtuple("Triple", "a b c")):
    def __eq__(self, other):
        return True

    def __iter__(self):
        while True:
            yield 0


def solve(n):
    return Triple(1, 2, 3)
