# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [440062248, 999671977]}
# expect: failed|runtime_error
# note: handlers left behind

import signal

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def solve(n):
    return 0
