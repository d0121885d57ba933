# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["vs6t57f6nph2\n"]}
# expect: timeout|failed
# timeout_s: 1
# note: collecting garbage calls the program

import gc


def callback(phase, info):
    while True:
        pass


gc.callbacks.append(callback)
print("wrong")
