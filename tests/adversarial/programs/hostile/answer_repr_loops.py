# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [910734303, 689407297]}
# expect: failed
# timeout_s: 1
# note: nobody should ask it for its text

class Talker:
    def __repr__(self):
        while True:
            pass

    __str__ = __format__ = __bytes__ = __bool__ = __len__ = __iter__ = __repr__


def solve(n):
    return Talker()
