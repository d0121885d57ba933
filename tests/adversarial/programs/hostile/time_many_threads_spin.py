# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [562131101]}
# expect: timeout
# timeout_s: 1
# note: processor time of all threads counts

import threading


def spin():
    while True:
        pass


def solve(n):
    for _ in range(20):
        threading.Thread(target=spin, daemon=True).start()
    spin()
