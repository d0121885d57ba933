# tests: {"type": "stdio", "inputs": ["3\n149\n939\n-391\n", "1\n-880\n", "5\n-756\n846\n-630\n-315\n13\n"], "outputs": ["697\n", "-880\n", "-842\n"]}
# expect: passed
# note: asks for a process and does without

import subprocess
import sys

try:
    subprocess.run(["true"], check=True)
except OSError:
    pass
print(sum(map(int, sys.stdin.read().split()[1:])))
