# tests: {"type": "stdio", "inputs": ["3\n-29\n797\n653\n", "1\n664\n", "5\n696\n298\n349\n693\n44\n"], "outputs": ["1421\n", "664\n", "2080\n"]}
# expect: passed
# note: past Python's streams

import os
import sys

os.write(1, str(sum(map(int, sys.stdin.read().split()[1:]))).encode())
