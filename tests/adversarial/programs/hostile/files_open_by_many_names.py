# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["vbatbrpw69q3\n"]}
# expect: runtime_error
# note: a hard link to somebody else's file

import os

os.link("/etc/passwd", "mine")
print(open("mine").read())
