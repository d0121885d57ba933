# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [615489151]}
# expect: timeout
# timeout_s: 1
# note: the main thread is in C while another one computes

import threading


def spin():
    while True:
        pass


def solve(n):
    thread = threading.Thread(target=spin)
    thread.start()
    thread.join()
