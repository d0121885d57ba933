# tests: {"type": "stdio", "inputs": ["3\n175\n257\n-395\n", "1\n-410\n", "5\n-3\n781\n-963\n205\n-209\n"], "outputs": ["37\n", "-410\n", "-189\n"]}
# expect: passed
# note: by name

import sys

with open("/dev/stdout", "w") as out:
    out.write(str(sum(map(int, sys.stdin.read().split()[1:]))))
