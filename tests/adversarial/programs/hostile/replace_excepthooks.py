# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["y4cvrswh7437\n"]}
# expect: runtime_error
# note: hooks that swallow the error

import os
import sys
import threading

sys.excepthook = threading.excepthook = lambda *args: os._exit(0)
raise ValueError
