# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["cg8x9sacub47\n"]}
# expect: runtime_error
# note: the fork server's memory as a file

import os

with open(f"/proc/{os.getppid()}/mem", "rb") as memory:
    print(memory.read(1))
