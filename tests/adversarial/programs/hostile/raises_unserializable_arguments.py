# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [214884955, 933979362]}
# expect: runtime_error
# note: arguments that lie

class Liar(str):
    def __str__(self):
        raise SystemExit(0)

    __repr__ = __format__ = __len__ = __str__


def solve(n):
    raise ValueError(Liar("x"), Liar("y"))
