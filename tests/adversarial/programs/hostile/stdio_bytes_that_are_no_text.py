# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["q85cnpej253n\n"]}
# expect: failed
# note: not UTF-8

import sys

sys.stdout.buffer.write(bytes(range(256)))
