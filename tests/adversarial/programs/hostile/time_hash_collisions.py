# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [525883529]}
# expect: timeout
# timeout_s: 1
# note: a dict whose keys all collide

class Key:
    def __hash__(self):
        return 1

    def __eq__(self, other):
        return self is other


def solve(n):
    return len({Key(): index for index in range(200_000)})
