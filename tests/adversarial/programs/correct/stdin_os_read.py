# tests: {"type": "stdio", "inputs": ["3\n169\n-311\n-778\n", "1\n936\n", "5\n-829\n385\n-131\n-236\n503\n"], "outputs": ["-920\n", "936\n", "-308\n"]}
# expect: passed
# note: past Python's streams

import os

print(sum(map(int, os.read(0, 10**6).split()[1:])))
