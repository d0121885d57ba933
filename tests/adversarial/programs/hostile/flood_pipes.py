# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["vu8gjfzchvpg\n"]}
# expect: runtime_error|timeout
# timeout_s: 1
# note: kernel memory in pipes

import fcntl
import os

while True:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, 1031, 2**20)
    os.write(writer, bytes(2**20))
