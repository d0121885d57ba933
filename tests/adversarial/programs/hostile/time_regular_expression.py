# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [860938074]}
# expect: timeout
# timeout_s: 1
# note: backtracks for ever

import re


def solve(n):
    return re.match(r"(a|aa|a?)+$", "a" * 80 + "b")
