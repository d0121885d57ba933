# tests: {"type": "stdio", "inputs": ["3\n-854\n319\n-612\n", "1\n-345\n", "5\n831\n488\n-526\n596\n-721\n"], "outputs": ["-1147\n", "-345\n", "668\n"]}
# expect: passed
# note: never shut down

import sys
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(4)
numbers = pool.map(int, sys.stdin.read().split()[1:])
print(sum(numbers))
