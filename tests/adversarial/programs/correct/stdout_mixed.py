# tests: {"type": "stdio", "inputs": [""], "outputs": ["a\nb\nc\nd\n"]}
# expect: passed
# note: text, bytes and descriptor in order

import os
import sys

print("a")
sys.stdout.flush()
os.write(1, b"b\n")
sys.stdout.buffer.write(b"c\n")
print("d")
