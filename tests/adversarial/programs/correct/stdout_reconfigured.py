# tests: {"type": "stdio", "inputs": ["3\n-363\n-948\n669\n", "1\n-611\n", "5\n603\n144\n-553\n568\n169\n"], "outputs": ["-642\n", "-611\n", "931\n"]}
# expect: passed
# note: line buffering and another encoding

import sys

sys.stdout.reconfigure(encoding="latin-1", line_buffering=True)
print(sum(map(int, sys.stdin.read().split()[1:])))
