# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["puvktvp67egn\n"]}
# expect: runtime_error|failed
# note: an output of a terabyte, all holes

import os

os.ftruncate(1, 2**40)
