# tests: {"type": "stdio", "inputs": ["3\n-427\n953\n567\n", "1\n-344\n", "5\n321\n-547\n86\n-15\n784\n"], "outputs": ["1093\n", "-344\n", "629\n"]}
# expect: passed
# note: stops its own search in time

import signal
import sys


class Timeout(Exception):
    pass


def ring(*args):
    raise Timeout


signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    while True:
        pass
except Timeout:
    pass
print(sum(map(int, sys.stdin.read().split()[1:])))
