# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["ehssk3yer4zm\n"]}
# expect: failed
# note: registers with the process that forked it

import os

os.register_at_fork(before=lambda: os._exit(0), after_in_child=lambda: os._exit(0), after_in_parent=lambda: os._exit(0))
print("wrong")
