# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [503981992, 315453472]}
# expect: failed
# note: a class instead of an instance, with a metaclass that agrees with everyone

class Agreeable(type):
    def __eq__(cls, other):
        return True

    def __instancecheck__(cls, instance):
        return True

    def __subclasscheck__(cls, subclass):
        return True

    def __hash__(cls):
        return 0

    def __getattribute__(cls, name):
        return cls


class Answer(metaclass=Agreeable):
    pass


def solve(n):
    return Answer
