# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["uj3czdtep6z4\n"]}
# expect: failed
# note: every process in turn

import os
import signal

for pid in range(1, 5000):
    if pid != os.getpid():
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
print("wrong")
