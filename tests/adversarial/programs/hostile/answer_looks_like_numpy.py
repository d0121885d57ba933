# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [[531209092, 794571848, 176612829], [461512662, 121610008, 273551118]]}
# expect: failed
# note: pretends to be an array and brings its own conversion

class ndarray:
    __module__ = "numpy"
    dtype = "int64"
    shape = (3,)
    ndim = 1

    def tolist(self):
        return self

    def __eq__(self, other):
        return True

    def __array__(self, dtype=None):
        return self


def solve(n):
    return ndarray()
