# tests: {"type": "assert", "setup": "", "asserts": ["assert solve(7)"]}
# expect: failed|runtime_error
# note: truth value taken from an object of the program, inside; it is false

class Maybe:
    def __bool__(self):
        raise ValueError("ask again later")


def solve(n):
    return Maybe()
