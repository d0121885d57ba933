# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [113228280]}
# expect: timeout
# timeout_s: 0.5
# note: waits for itself

import threading


def solve(n):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
