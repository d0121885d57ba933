# tests: {"type": "stdio", "inputs": ["3\n182\n-257\n587\n", "1\n-89\n", "5\n626\n246\n559\n734\n-813\n"], "outputs": ["512\n", "-89\n", "1352\n"]}
# expect: passed
# note: programs in programs

import sys

namespace = {}
exec("def add(numbers):\n    return sum(numbers)", namespace)
print(eval("add(numbers)", {**namespace, "numbers": list(map(int, sys.stdin.read().split()[1:]))}))
