# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["qzhhg28msksa\n"]}
# expect: runtime_error
# note: tokens of the trainer

import os

print(open(f"/proc/{os.getppid()}/environ").read())
