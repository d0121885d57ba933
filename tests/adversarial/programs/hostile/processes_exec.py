# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["tz2ha76pq2nb\n"]}
# expect: runtime_error
# note: becomes another program

import os

os.execv("/bin/echo", ["echo", "anything"])
