# tests: {"type": "stdio", "inputs": ["3\n-522\n930\n-801\n", "1\n961\n", "5\n-395\n540\n-527\n-100\n-929\n"], "outputs": ["-393\n", "961\n", "-1411\n"]}
# expect: passed
# note: atexit

import atexit
import sys

atexit.register(lambda: print(sum(numbers)))
numbers = list(map(int, sys.stdin.read().split()[1:]))
