# tests: {"type": "assert", "setup": "", "asserts": ["assert solve(7) == 14", "assert solve(-3) == -6", "assert solve(0) != 1"]}
# expect: passed
# note: one function, several assertions

def solve(n):
    return n * 2
