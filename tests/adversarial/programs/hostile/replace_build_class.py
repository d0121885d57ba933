# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [353305201, 845002225]}
# expect: failed|runtime_error
# note: classes defined from now on are something else

import builtins

builtins.__build_class__ = lambda *args, **kwargs: None


class Solution:
    def solve(self, n):
        return 0


def solve(n):
    return 0
