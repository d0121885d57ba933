# tests: {"type": "stdio", "inputs": ["3\n-479\n-679\n96\n", "1\n841\n", "5\n-870\n-284\n-465\n93\n739\n"], "outputs": ["-1062\n", "841\n", "-787\n"]}
# expect: passed
# note: as contestants do

import gc
import sys

gc.disable()
print(sum(map(int, sys.stdin.read().split()[1:])))
