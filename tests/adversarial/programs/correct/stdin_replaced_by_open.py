# tests: {"type": "stdio", "inputs": ["3\n-753\n-81\n-517\n", "1\n-998\n", "5\n90\n-416\n-301\n-242\n-670\n"], "outputs": ["-1351\n", "-998\n", "-1539\n"]}
# expect: passed
# note: sys.stdin is assigned

import sys

sys.stdin = open(0)
input = sys.stdin.readline
count = int(input())
print(sum(int(input()) for _ in range(count)))
