# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["rvqs8esqaaca\n", "dyt6f8xc28cp\n"]}
# expect: failed|runtime_error
# note: writes into the output files of later tests

import os

for descriptor in range(3, 64):
    try:
        os.pwrite(descriptor, b"wrong\n" * 10, 0)
    except OSError:
        pass
print("wrong")
