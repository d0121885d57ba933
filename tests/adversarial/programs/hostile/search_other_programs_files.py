# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["axsbd62pjry3\n"]}
# expect: failed
# note: looks for what other programs left in shared folders

import glob

print(glob.glob("/tmp/*") + glob.glob("/dev/shm/*") + glob.glob("/proc/[0-9]*") + glob.glob("/home/*"))
