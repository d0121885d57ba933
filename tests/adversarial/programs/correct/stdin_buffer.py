# tests: {"type": "stdio", "inputs": ["3\n-327\n987\n-232\n", "1\n198\n", "5\n227\n915\n928\n-836\n-381\n"], "outputs": ["428\n", "198\n", "853\n"]}
# expect: passed
# note: bytes

import sys

print(sum(map(int, sys.stdin.buffer.read().split()[1:])))
