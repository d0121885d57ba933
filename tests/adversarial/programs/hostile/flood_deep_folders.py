# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["2ymv2v2ue5rv\n"]}
# expect: failed|timeout|runtime_error
# timeout_s: 3
# note: a folder that cannot be deleted recursively

import os

for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
print("wrong")
