# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [818160878, 505182391]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: a watchdog thread in C that ends the process

import faulthandler
import sys


def solve(n):
    faulthandler.dump_traceback_later(0.05, exit=True, file=sys.__stderr__ or 2)
    while True:
        pass
