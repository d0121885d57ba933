# tests: {"type": "stdio", "inputs": ["3\n749\n663\n-652\n", "1\n-476\n", "5\n852\n824\n-859\n-940\n-441\n"], "outputs": ["760\n", "-476\n", "-564\n"]}
# expect: passed
# note: sys.exit is a normal end

import sys

print(sum(map(int, sys.stdin.read().split()[1:])))
sys.exit(1)
