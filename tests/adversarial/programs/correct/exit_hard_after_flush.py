# tests: {"type": "stdio", "inputs": ["3\n-377\n499\n827\n", "1\n266\n", "5\n-525\n-571\n-538\n295\n165\n"], "outputs": ["949\n", "266\n", "-1174\n"]}
# expect: passed
# note: the fast way out that contestants use with threads

import os
import sys

print(sum(map(int, sys.stdin.read().split()[1:])), flush=True)
os._exit(0)
