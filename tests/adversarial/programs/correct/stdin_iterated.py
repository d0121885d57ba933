# tests: {"type": "stdio", "inputs": ["3\n-551\n679\n496\n", "1\n-512\n", "5\n590\n537\n-792\n-62\n543\n"], "outputs": ["624\n", "-512\n", "816\n"]}
# expect: passed
# note: lines of sys.stdin

import sys

next(sys.stdin)
print(sum(int(line) for line in sys.stdin))
