# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["88qq4c25qzm4\n"]}
# expect: timeout
# timeout_s: 1
# note: does not take no for an answer

import os

while True:
    try:
        os.fork()
    except OSError:
        pass
