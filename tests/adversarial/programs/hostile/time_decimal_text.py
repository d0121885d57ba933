# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [648321956]}
# expect: timeout
# timeout_s: 1
# note: writing a large number takes quadratic time

import sys


def solve(n):
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    return len(str(7**8_000_000))
