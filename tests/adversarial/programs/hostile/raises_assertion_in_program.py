# tests: {"type": "assert", "setup": "", "asserts": ["assert solve(7) == 862645101", "assert solve(8) == 635479796"]}
# expect: runtime_error|failed
# note: an AssertionError of its own

def solve(n):
    assert False, "mine"
