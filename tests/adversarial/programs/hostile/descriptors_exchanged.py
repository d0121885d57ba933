# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["2bs8ewnhchj6\n", "qnkfhndhdr2q\n"]}
# expect: runtime_error|failed|timeout
# timeout_s: 1
# note: exchanges the descriptors of later tests

import os

for descriptor in range(3, 32):
    try:
        copy = os.dup(descriptor)
        os.dup2(descriptor + 1, descriptor)
        os.dup2(copy, descriptor + 1)
    except OSError:
        pass
print("wrong")
