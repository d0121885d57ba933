# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [703813585, 122383627]}
# expect: failed
# timeout_s: 1
# note: nobody should put it into a set

class Endless:
    def __hash__(self):
        while True:
            pass

    def __eq__(self, other):
        while True:
            pass


def solve(n):
    return Endless()
