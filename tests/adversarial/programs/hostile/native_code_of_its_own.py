# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [346110777]}
# expect: runtime_error|failed
# note: machine code in an executable page

import ctypes
import mmap


def solve(n):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\x0f\x0b" * 8)
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
