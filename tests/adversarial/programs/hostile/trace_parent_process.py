# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["5ddknzk3xbr3\n"]}
# expect: failed
# note: attaches to the fork server

import ctypes
import os

libc = ctypes.CDLL(None)
print(libc.ptrace(16, os.getppid(), 0, 0), libc.ptrace(0x4206, os.getppid(), 0, 0))
