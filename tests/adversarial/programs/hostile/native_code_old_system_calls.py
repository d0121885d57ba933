# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [337668019]}
# expect: runtime_error|failed
# note: the 32-bit door of the kernel

import ctypes
import mmap


def solve(n):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x02\x00\x00\x00\xcd\x80\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
