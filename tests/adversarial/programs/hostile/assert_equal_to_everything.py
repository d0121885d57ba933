# tests: {"type": "assert", "setup": "", "asserts": ["assert solve(7) == 241871228", "assert solve(8) == 605940204"]}
# expect: failed
# note: the comparison does not happen in the program's process

class Anything:
    def __eq__(self, other):
        return True


def solve(n):
    return Anything()
