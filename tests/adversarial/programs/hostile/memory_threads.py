# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [227507215]}
# expect: runtime_error|memory_exceeded|timeout
# timeout_s: 1
# note: a bomb of threads

import threading
import time


def solve(n):
    while True:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
