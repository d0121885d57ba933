# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["wm3ymw3m723k\n"]}
# expect: failed|runtime_error
# note: the wipe must delete them all the same

import os

os.makedirs("locked/inner")
open("locked/inner/file", "w").close()
os.mkdir("closed", mode=0)
os.chmod("locked/inner", 0)
os.chmod("locked", 0)
print("wrong")
