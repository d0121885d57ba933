# tests: {"type": "stdio", "inputs": ["3\n873\n611\n-943\n", "1\n557\n", "5\n-36\n-538\n671\n563\n-212\n"], "outputs": ["541\n", "557\n", "448\n"]}
# expect: passed
# note: looks at its own name and arguments

import os
import sys

assert len(sys.argv) == 1
assert isinstance(os.getcwd(), str) and os.access(".", os.W_OK)
print(sum(map(int, sys.stdin.read().split()[1:])))
