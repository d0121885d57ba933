# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [121486025, 824481330]}
# expect: failed|timeout
# timeout_s: 1
# note: a thread that never gives way

import sys
import threading


def solve(n):
    sys.setswitchinterval(1e9)
    threading.Thread(target=lambda: sum(range(10**12)), daemon=True).start()
    return 0
