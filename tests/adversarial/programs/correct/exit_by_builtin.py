# tests: {"type": "stdio", "inputs": ["3\n-436\n717\n816\n", "1\n-281\n", "5\n-903\n887\n-55\n-4\n181\n"], "outputs": ["1097\n", "-281\n", "106\n"]}
# expect: passed
# note: so is exit

import sys

print(sum(map(int, sys.stdin.read().split()[1:])))
exit()
