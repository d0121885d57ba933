# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [128479731]}
# expect: timeout
# timeout_s: 1
# note: removes every timer there may be

import signal

for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
    signal.setitimer(which, 0)
signal.alarm(0)


def solve(n):
    while True:
        pass
