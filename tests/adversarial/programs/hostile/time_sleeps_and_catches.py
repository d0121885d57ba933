# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["dsbrtsvqapux\n"]}
# expect: timeout
# timeout_s: 0.5
# note: sleeps again when woken

import time

while True:
    try:
        time.sleep(1000)
    except BaseException:
        pass
