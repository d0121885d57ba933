# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["kxw9s4ccv4fa\n", "bxcvwpzdg5w2\n"]}
# expect: failed|runtime_error
# note: leaves none for the harness, and goes on

import os

try:
    while True:
        os.dup(0)
except OSError:
    pass
print("wrong")
