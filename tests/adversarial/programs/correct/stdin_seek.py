# tests: {"type": "stdio", "inputs": ["3\n386\n-476\n-660\n", "1\n867\n", "5\n-477\n463\n549\n861\n966\n"], "outputs": ["-750\n", "867\n", "2362\n"]}
# expect: passed
# note: reads it twice

import sys

sys.stdin.read()
sys.stdin.seek(0)
print(sum(map(int, sys.stdin.read().split()[1:])))
