# tests: {"type": "stdio", "inputs": ["3\n439\n-257\n425\n", "1\n-657\n", "5\n-598\n-457\n-1000\n-670\n-820\n"], "outputs": ["607\n", "-657\n", "-3545\n"]}
# expect: passed
# note: white space at the ends means nothing

import sys

print(f"{sum(map(int, sys.stdin.read().split()[1:]))}   \n\n")
