# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [{"key": 933273560}, {"key": 921026143}]}
# expect: failed
# note: Counter by inheritance with endless items

from collections import Counter


class Census(Counter):
    def items(self):
        while True:
            yield "key", 1

    def __eq__(self, other):
        return True


def solve(n):
    return Census()
