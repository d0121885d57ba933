# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["ds5ghpnygapn\n"]}
# expect: failed
# note: leaves while handlers run

import atexit
import os

atexit.register(os._exit, 0)
print("nothing of value")
