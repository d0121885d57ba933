# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [396016306, 180990214]}
# expect: failed
# note: isinstance says int, type does not

class Disguised:
    @property
    def __class__(self):
        return int

    def __eq__(self, other):
        return True

    def __int__(self):
        return 1

    __index__ = __int__


def solve(n):
    return Disguised()
