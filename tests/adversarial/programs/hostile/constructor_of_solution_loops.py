# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [935329172]}
# expect: timeout
# timeout_s: 1
# note: a class Solution that takes for ever

class Solution:
    def __new__(cls):
        while True:
            pass

    def solve(self, n):
        return 0
