# tests: {"type": "assert", "setup": "", "asserts": ["assert solve(7) == 276673384", "assert solve(8) == 900890042"]}
# expect: failed|runtime_error
# note: builtins.exec and eval that do nothing

import builtins

builtins.exec = lambda *args, **kwargs: None
builtins.eval = lambda *args, **kwargs: True


def solve(n):
    return 0
