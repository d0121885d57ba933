# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["fhvhrvu5n73u\n"]}
# expect: timeout
# timeout_s: 0.5
# note: the interpreter would wait for it

import threading
import time

threading.Thread(target=time.sleep, args=(1000,)).start()
print("done")
