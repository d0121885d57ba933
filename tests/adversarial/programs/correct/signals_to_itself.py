# tests: {"type": "stdio", "inputs": ["3\n-83\n542\n664\n", "1\n228\n", "5\n167\n738\n222\n-365\n-240\n"], "outputs": ["1123\n", "228\n", "522\n"]}
# expect: passed
# note: raise_signal, kill and pthread_kill

import os
import signal
import sys
import threading

caught = []
signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
signal.raise_signal(signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGUSR1)
signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
assert caught == [1, 1, 1]
print(sum(map(int, sys.stdin.read().split()[1:])))
