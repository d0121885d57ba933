# tests: {"type": "assert", "setup": "", "asserts": ["assert len(solve(7)) == 253083811", "assert sorted(solve(8)) == [796549202, 149107551]"]}
# expect: failed|runtime_error
# note: the test says len(...), and the program has its own len

import builtins

builtins.len = lambda value: 2**70
builtins.sorted = builtins.set = builtins.tuple = builtins.list


def solve(n):
    return []
