# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["8wfggh237392\n"]}
# expect: timeout
# timeout_s: 1
# note: an exit handler that never ends

import atexit


@atexit.register
def forever():
    while True:
        pass


print("done")
