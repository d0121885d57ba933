# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [631316650]}
# expect: timeout
# timeout_s: 1
# note: loops while a class is made

class Meta(type):
    def __new__(mcs, *args):
        while True:
            pass


def solve(n):
    class Endless(metaclass=Meta):
        pass
