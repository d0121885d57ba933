# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [227620009, 123002322]}
# expect: failed|runtime_error|timeout|compile_error
# timeout_s: 1
# note: an audit hook that forbids everything from now on

import sys


def forbid(event, arguments):
    raise RuntimeError(event)


sys.addaudithook(forbid)


def solve(n):
    return 0
