# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [800991066]}
# expect: memory_exceeded|runtime_error
# note: pages from the kernel, not from malloc

import mmap


def solve(n):
    kept = []
    while True:
        kept.append(mmap.mmap(-1, 2**26))
