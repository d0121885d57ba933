# tests: {"type": "stdio", "inputs": ["3\n-64\n-304\n751\n", "1\n560\n", "5\n778\n295\n431\n635\n-850\n"], "outputs": ["383\n", "560\n", "1289\n"]}
# expect: passed
# note: nobody waits for this one

import sys
import threading
import time

threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print(sum(map(int, sys.stdin.read().split()[1:])))
