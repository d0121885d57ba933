# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["jcuxzvppt4vp\n"]}
# expect: runtime_error
# note: minus one

import os
import signal

os.kill(-1, signal.SIGKILL)
print("wrong")
