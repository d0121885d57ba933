# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [561712155, 415255253]}
# expect: failed
# note: ends only its thread

import sys
import threading


def solve(n):
    thread = threading.Thread(target=sys.exit, args=(0,))
    thread.start()
    thread.join()
    return 0
