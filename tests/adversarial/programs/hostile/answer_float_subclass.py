# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [268231.61, 769000.625]}
# expect: failed
# note: a float whose conversions lie

class Near(float):
    def __eq__(self, other):
        return True

    def __sub__(self, other):
        return 0.0

    __rsub__ = __sub__
    __hash__ = float.__hash__


def solve(n):
    return Near(0)
