# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["vm4byft3bagw\n"]}
# expect: runtime_error
# note: the group of the parent

import os
import signal

os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)
print("wrong")
