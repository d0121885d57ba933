# tests: {"type": "stdio", "inputs": ["3\n133\n387\n-73\n", "1\n893\n", "5\n-165\n430\n-639\n985\n-757\n"], "outputs": ["447\n", "893\n", "-146\n"]}
# expect: passed
# note: exact numbers

import sys
from decimal import Decimal, getcontext
from fractions import Fraction

getcontext().prec = 50
words = sys.stdin.read().split()[1:]
assert sum(map(Decimal, words)) == sum(map(Fraction, words))
print(sum(map(Fraction, words)))
