# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["kpp95vybrkcm\n"]}
# expect: runtime_error
# note: has the kernel send the signal

import fcntl
import os
import signal

reader, writer = os.pipe()
fcntl.fcntl(reader, fcntl.F_SETOWN, os.getppid())
fcntl.fcntl(reader, 10, signal.SIGKILL)
fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
os.write(writer, b"x")
print("wrong")
