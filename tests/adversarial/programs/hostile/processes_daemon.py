# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["7uqpn3fqzmuu\n"]}
# expect: failed|runtime_error
# note: leaves somebody behind

import os
import time

try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
except OSError:
    pass
print("wrong")
