# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["pva95uen7h86\n"]}
# expect: runtime_error
# note: another way

import os

print(os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 600"], {}))
