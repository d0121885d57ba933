# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["qknt8pam9gdz\n"]}
# expect: failed|timeout
# timeout_s: 1
# note: collecting garbage never ends

import gc


def forever(*args):
    while True:
        pass


gc.collect = gc.freeze = forever
print("wrong")
