# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["8qaw5u586vcr\n"]}
# expect: failed|runtime_error
# note: leaves somebody behind, past the library

import ctypes
import time

libc = ctypes.CDLL(None)
if libc.fork() == 0 or libc.vfork() == 0:
    time.sleep(600)
print("wrong")
