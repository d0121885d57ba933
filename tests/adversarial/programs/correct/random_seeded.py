# tests: {"type": "stdio", "inputs": ["a\n", "b\n", "a\n"], "outputs": ["292089490 0.5061617349634813\n", "776115341 0.9203156387475421\n", "292089490 0.5061617349634813\n"]}
# expect: passed
# note: the same numbers in every test

import random

random.seed(input())
print(random.randint(0, 10**9), random.random())
