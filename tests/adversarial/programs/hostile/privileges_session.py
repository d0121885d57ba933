# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["qykvk66xtakf\n"]}
# expect: runtime_error
# note: out of the process group that is killed

import os

os.setsid()
print("wrong")
