# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [373617924]}
# expect: runtime_error
# note: elsewhere in the process

import ctypes
import threading


def solve(n):
    thread = threading.Thread(target=ctypes.string_at, args=(0,))
    thread.start()
    thread.join()
