# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["ubr34845zpqw\n"]}
# expect: runtime_error|failed
# note: writes far behind the end

import os

os.lseek(1, 2**40, os.SEEK_SET)
os.write(1, b"end")
