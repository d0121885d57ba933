# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": ["csx272arjx6q", "ca7wanuaxduc"]}
# expect: failed
# note: a str by inheritance whose comparisons lie

class Text(str):
    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


def solve(n):
    return Text("")
