# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [572225004, 898029990]}
# expect: runtime_error
# note: a class whose name is a program

class Meta(type):
    @property
    def __name__(cls):
        raise SystemExit(0)

    @property
    def __module__(cls):
        while True:
            pass


class Nameless(Exception, metaclass=Meta):
    pass


def solve(n):
    raise Nameless
