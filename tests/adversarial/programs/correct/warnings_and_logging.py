# tests: {"type": "stdio", "inputs": ["3\n-909\n-383\n-166\n", "1\n-371\n", "5\n588\n-858\n-879\n765\n-723\n"], "outputs": ["-1458\n", "-371\n", "-1107\n"]}
# expect: passed
# note: chatter on the other stream

import logging
import sys
import warnings

logging.basicConfig(level=logging.DEBUG)
logging.warning("chatter")
warnings.warn("more of it")
print(sum(map(int, sys.stdin.read().split()[1:])))
