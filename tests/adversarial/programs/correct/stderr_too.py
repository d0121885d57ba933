# tests: {"type": "stdio", "inputs": ["3\n-91\n820\n-150\n", "1\n685\n", "5\n-746\n945\n-504\n-670\n632\n"], "outputs": ["579\n", "685\n", "-343\n"]}
# expect: passed
# note: messages on the other stream are no answer

import sys

total = sum(map(int, sys.stdin.read().split()[1:]))
print("debug: " + "x" * 100_000, file=sys.stderr)
print(total)
