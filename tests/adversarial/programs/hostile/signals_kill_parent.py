# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["vm6vbtvaxzs3\n"]}
# expect: runtime_error
# note: the fork server

import os
import signal

os.kill(os.getppid(), signal.SIGKILL)
print("wrong")
