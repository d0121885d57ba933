# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [-3], [100000000000000000000]], "outputs": [14, -6, 200000000000000000000]}
# expect: passed
# note: a method of a class Solution

class Solution:
    def __init__(self):
        self.factor = 2

    def solve(self, n: int) -> int:
        return n * self.factor
