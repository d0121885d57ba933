# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [421091475, 226413610]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: sends itself every signal there is

import os
import signal


def solve(n):
    for number in sorted(signal.valid_signals(), reverse=True):
        if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            os.kill(os.getpid(), number)
    return 0
