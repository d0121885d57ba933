# tests: {"type": "stdio", "inputs": ["3\n-664\n-22\n793\n", "1\n-236\n", "5\n198\n980\n385\n-976\n803\n"], "outputs": ["107\n", "-236\n", "1390\n"]}
# expect: passed
# note: input as a file in memory

import mmap

with mmap.mmap(0, 0, access=mmap.ACCESS_READ) as data:
    print(sum(map(int, bytes(data).split()[1:])))
