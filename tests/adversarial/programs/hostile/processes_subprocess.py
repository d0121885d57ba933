# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["7nev9kgu436p\n"]}
# expect: runtime_error
# note: somebody else's program

import subprocess

print(subprocess.run(["id"], capture_output=True).stdout)
