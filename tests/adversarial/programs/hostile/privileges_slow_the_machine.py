# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["gdnykyeccvcz\n"]}
# expect: failed|runtime_error
# note: takes the processors of its parent away

import os

os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)
os.sched_setaffinity(os.getppid(), {0})
print("wrong")
