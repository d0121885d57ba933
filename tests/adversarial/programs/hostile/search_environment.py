# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["j4dzqac88x6z\n"]}
# expect: failed
# note: prints every token in the environment

import os

for name, value in os.environ.items():
    print(name, value)
