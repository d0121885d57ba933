# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["4v7vjm24f2t2\n"]}
# expect: failed|timeout
# timeout_s: 1
# note: what the interpreter calls at its end loops

import threading


def forever(*args):
    while True:
        pass


threading._shutdown = threading.Thread.join = forever
threading.Thread(target=print, args=("wrong",)).start()
