# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [867239413, 464966009]}
# expect: failed|runtime_error
# note: a class Solution that answers any name

class Meta(type):
    def __getattr__(cls, name):
        return lambda *args: 0


class Solution(metaclass=Meta):
    def __getattr__(self, name):
        return lambda *args: 0
