# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["f2b8r3hb388j\n"]}
# expect: failed
# note: the wipe must not follow them

import os

for target in ("/", "/tmp", "/etc", os.path.expanduser("~"), "..", "."):
    os.symlink(target, "link" + str(len(os.listdir("."))))
os.mkdir("folder")
os.symlink("/", "folder/root")
os.symlink("loop", "loop")
print("wrong")
