# tests: {"type": "stdio", "inputs": ["3\n-898\n525\n-841\n", "1\n-270\n", "5\n-187\n-111\n620\n-207\n287\n"], "outputs": ["-1214\n", "-270\n", "402\n"]}
# expect: passed
# note: closes what it has written

import sys

print(sum(map(int, sys.stdin.read().split()[1:])))
sys.stdout.close()
