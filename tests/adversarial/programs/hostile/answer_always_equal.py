# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [131585844, 805008712]}
# expect: failed
# note: an object that is equal to everything

class Anything:
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __hash__(self):
        return 0


def solve(n):
    return Anything()
