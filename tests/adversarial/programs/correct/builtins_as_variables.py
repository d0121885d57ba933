# tests: {"type": "stdio", "inputs": ["3\n654\n652\n-672\n", "1\n445\n", "5\n-474\n-256\n-417\n849\n-853\n"], "outputs": ["634\n", "445\n", "-1151\n"]}
# expect: passed
# note: careless names

import sys

input = sys.stdin.read().split()
max = min = len = type = id = 0
list = [int(word) for word in input[1:]]
print(sum(list))
