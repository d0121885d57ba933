# tests: {"type": "stdio", "inputs": ["3\n-678\n-201\n149\n", "1\n177\n", "5\n238\n-664\n-766\n-814\n665\n"], "outputs": ["-730\n", "177\n", "-1341\n"]}
# expect: passed
# note: a timer that never comes

import signal
import sys

signal.alarm(600)
print(sum(map(int, sys.stdin.read().split()[1:])))
