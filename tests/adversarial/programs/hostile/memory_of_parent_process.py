# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["bkt3bpxbdxpb\n"]}
# expect: failed
# note: writes to the fork server's memory

import ctypes
import os


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


buffer = ctypes.create_string_buffer(64)
local = Vector(ctypes.addressof(buffer), 64)
remote = Vector(id(os), 64)
libc = ctypes.CDLL(None)
for function in (libc.process_vm_readv, libc.process_vm_writev):
    print(function(os.getppid(), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
