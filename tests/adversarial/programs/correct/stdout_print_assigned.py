# tests: {"type": "stdio", "inputs": ["3\n-877\n187\n294\n", "1\n405\n", "5\n968\n-587\n970\n739\n-147\n"], "outputs": ["-396\n", "405\n", "1943\n"]}
# expect: passed
# note: a name of its own for a builtin

import sys
from functools import partial

print = partial(print, file=sys.stdout, flush=False, end="")
print(sum(map(int, sys.stdin.read().split()[1:])))
