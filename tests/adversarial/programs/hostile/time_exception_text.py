# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [780839771, 749064532]}
# expect: runtime_error
# timeout_s: 1
# note: nobody should ask the exception for its text

class Endless(Exception):
    def __str__(self):
        while True:
            pass

    __repr__ = __str__


def solve(n):
    raise Endless
