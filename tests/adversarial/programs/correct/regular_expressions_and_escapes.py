# tests: {"type": "stdio", "inputs": ["3\n421\n94\n585\n", "1\n3\n", "5\n236\n314\n891\n848\n857\n"], "outputs": ["1100\n", "3\n", "3146\n"]}
# expect: passed
# note: escapes that newer interpreters warn about

import re
import sys

print(sum(map(int, re.findall("\d+", sys.stdin.read())[1:])))
