# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [{"key": 541858811}, {"key": 354792225}]}
# expect: failed
# note: exact dict with keys that are equal to everything

class Key(str):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash("key")


def solve(n):
    return {Key("other"): 1}
