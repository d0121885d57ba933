# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["rfgpr397pztg\n"]}
# expect: runtime_error
# note: the standard library of everyone

import os

with open(os.__file__, "a") as file:
    file.write("\n")
