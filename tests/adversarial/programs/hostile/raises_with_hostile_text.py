# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [439652713, 103620462]}
# expect: runtime_error
# note: an exception that cannot be printed

class Unspeakable(Exception):
    def __str__(self):
        raise self

    __repr__ = __str__

    def __getattribute__(self, name):
        raise SystemExit(0)


def solve(n):
    raise Unspeakable
