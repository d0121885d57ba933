# tests: {"type": "stdio", "inputs": ["3\n-260\n231\n708\n", "1\n106\n", "5\n-980\n511\n-933\n729\n-190\n"], "outputs": ["679\n", "106\n", "-863\n"]}
# expect: passed
# note: everything at once

import sys

count, *numbers = map(int, sys.stdin.read().split())
print(sum(numbers))
