# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [526239055]}
# expect: runtime_error|memory_exceeded|timeout|failed
# timeout_s: 1
# note: as many threads as fit

import threading
import time


def solve(n):
    threading.stack_size(32_768)
    started = 0
    while True:
        try:
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
            started += 1
        except RuntimeError:
            return started
