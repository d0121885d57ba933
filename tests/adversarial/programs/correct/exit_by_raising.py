# tests: {"type": "stdio", "inputs": ["3\n-385\n286\n-577\n", "1\n649\n", "5\n-438\n-683\n974\n429\n253\n"], "outputs": ["-676\n", "649\n", "535\n"]}
# expect: passed
# note: and raising it

import sys

print(sum(map(int, sys.stdin.read().split()[1:])))
raise SystemExit("done")
