# tests: {"type": "stdio", "inputs": ["3\n763\n-376\n-50\n", "1\n-413\n", "5\n564\n543\n199\n712\n-15\n"], "outputs": ["337\n", "-413\n", "2003\n"]}
# expect: passed
# note: asks about the machine

import os
import platform
import sys

assert os.cpu_count() and platform.system() and platform.python_version() and os.getpid()
print(sum(map(int, sys.stdin.read().split()[1:])))
