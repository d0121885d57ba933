# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [780114453, 991083216]}
# expect: failed
# note: an int by inheritance whose comparisons lie

class Number(int):
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = int.__hash__


def solve(n):
    return Number(0)
