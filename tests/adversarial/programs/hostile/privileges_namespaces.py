# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["9f5k44nkrqdh\n"]}
# expect: failed
# note: a world of its own

import ctypes

libc = ctypes.CDLL(None)
print(libc.unshare(0x10000000), libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), libc.chroot(b"/"))
