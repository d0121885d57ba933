# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["g7hw98uj5a38\n"]}
# expect: failed
# note: whoever opens it waits

import os

os.mkfifo("solution.pipe")
os.mkdir("folder")
os.mkfifo("folder/fifo")
print("wrong")
