# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [357455528, 963517250]}
# expect: failed|runtime_error
# note: ends everything while the main thread works

import os
import threading


def solve(n):
    threading.Thread(target=os._exit, args=(0,)).start()
    while True:
        pass
