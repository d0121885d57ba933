# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["ybvcfuv2amvd\n"]}
# expect: failed|runtime_error
# note: changes its own input

import os

try:
    os.pwrite(0, b"changed\n", 0)
except OSError:
    pass
print(input())
