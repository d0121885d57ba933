# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["wd4wm4jazf4g\n"]}
# expect: failed
# note: a filter that would answer for the kernel

import ctypes

libc = ctypes.CDLL(None)
print(libc.prctl(22, 2, 0, 0, 0), libc.syscall(317, 1, 0, 0), libc.prctl(4, 1, 0, 0, 0))
