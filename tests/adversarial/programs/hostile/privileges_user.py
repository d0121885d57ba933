# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["s4ugt2pt7b6y\n"]}
# expect: runtime_error
# note: root, or anybody

import os

os.setuid(0)
print("wrong")
