# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["14\n", "16\n"]}
# expect: failed
# note: the right answer on the wrong stream

import sys

print(int(input()) * 2, file=sys.stderr)
