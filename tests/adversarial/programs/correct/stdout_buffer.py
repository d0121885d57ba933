# tests: {"type": "stdio", "inputs": ["3\n-112\n382\n968\n", "1\n903\n", "5\n459\n526\n470\n-225\n952\n"], "outputs": ["1238\n", "903\n", "2182\n"]}
# expect: passed
# note: bytes

import sys

total = sum(map(int, sys.stdin.buffer.read().split()[1:]))
sys.stdout.buffer.write(b"%d\n" % total)
