# tests: {"type": "stdio", "inputs": ["3\n-887\n-76\n718\n", "1\n361\n", "5\n-143\n-387\n-449\n999\n-413\n"], "outputs": ["-245\n", "361\n", "-393\n"]}
# expect: passed
# timeout_s: 5
# note: two hundred megabytes are fine

import sys

block = bytearray(200 * 2**20)
block[-1] = 1
print(sum(map(int, sys.stdin.read().split()[1:])))
