# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["j4ehfzfnme5j\n"]}
# expect: runtime_error
# note: frozen, not dead

import os
import signal

os.kill(os.getppid(), signal.SIGSTOP)
print("wrong")
