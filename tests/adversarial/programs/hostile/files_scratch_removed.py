# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["ucrc4zbwve88\n", "52sp7qdptepf\n"]}
# expect: failed|runtime_error
# note: removes the folder it is in

import os
import shutil

here = os.getcwd()
shutil.rmtree(here, ignore_errors=True)
try:
    os.rmdir(here)
    os.rename(here, here + "x")
except OSError:
    pass
print("wrong")
