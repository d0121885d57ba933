# tests: {"type": "stdio", "inputs": ["1\nlast", "only"], "outputs": ["last", "only"]}
# expect: passed
# note: the last line has no end

import sys

print(sys.stdin.readlines()[-1])
