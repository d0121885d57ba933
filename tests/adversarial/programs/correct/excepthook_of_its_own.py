# tests: {"type": "stdio", "inputs": ["3\n167\n750\n-273\n", "1\n701\n", "5\n-468\n961\n866\n328\n861\n"], "outputs": ["644\n", "701\n", "2548\n"]}
# expect: passed
# note: a hook that is never needed

import sys

sys.excepthook = lambda *args: print("failed")
print(sum(map(int, sys.stdin.read().split()[1:])))
