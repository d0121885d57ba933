# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["y3xf3xu48mp9\n", "usv2pswwfc2h\n"]}
# expect: failed
# note: environment, folder and arguments are changed for the next test

import os
import sys

os.environ.clear()
os.environ["PYTHONPATH"] = "/nowhere"
os.chdir("/")
sys.argv[:] = []
sys.path[:] = []
print("wrong")
