# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [{"key": 878025926}, {"key": 874724802}]}
# expect: failed
# note: a dict that makes up its items

class Oracle(dict):
    def __eq__(self, other):
        return True

    def __missing__(self, key):
        return self

    def items(self):
        while True:
            yield "key", 1

    def __iter__(self):
        return iter(["key"])


def solve(n):
    return Oracle()
