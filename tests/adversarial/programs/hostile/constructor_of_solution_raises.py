# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [482425373, 990878371]}
# expect: runtime_error
# note: a class Solution that cannot be made

class Solution:
    def __init__(self):
        raise SystemExit(0)

    def solve(self, n):
        return 0
