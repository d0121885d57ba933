# tests: {"type": "stdio", "inputs": ["3\n-887\n-264\n316\n", "1\n362\n", "5\n277\n-497\n127\n757\n-126\n"], "outputs": ["-835\n", "362\n", "538\n"]}
# expect: passed
# timeout_s: 5
# note: when it is installed, numpy

import sys

numbers = list(map(int, sys.stdin.read().split()[1:]))
try:
    import numpy
except ImportError:
    print(sum(numbers))
else:
    print(numpy.array(numbers, dtype=numpy.int64).sum())
