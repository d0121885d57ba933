# tests: {"type": "stdio", "inputs": ["3\n-703\n-656\n-341\n", "1\n-32\n", "5\n390\n-293\n411\n-658\n824\n"], "outputs": ["-1700\n", "-32\n", "674\n"]}
# expect: passed
# note: inspects itself

import inspect
import sys
import traceback

assert inspect.currentframe().f_code.co_name == "<module>"
try:
    1 / 0
except ZeroDivisionError:
    assert "ZeroDivisionError" in traceback.format_exc()
print(sum(map(int, sys.stdin.read().split()[1:])))
