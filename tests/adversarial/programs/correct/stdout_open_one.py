# tests: {"type": "stdio", "inputs": ["3\n-931\n229\n14\n", "1\n-600\n", "5\n-254\n291\n-406\n91\n-392\n"], "outputs": ["-688\n", "-600\n", "-670\n"]}
# expect: passed
# note: the descriptor by number, closed by nobody

import sys

out = open(1, "w")
out.write(str(sum(map(int, sys.stdin.read().split()[1:]))))
