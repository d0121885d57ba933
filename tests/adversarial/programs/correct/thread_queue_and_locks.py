# tests: {"type": "stdio", "inputs": ["3\n438\n720\n-638\n", "1\n35\n", "5\n-389\n787\n-925\n-948\n83\n"], "outputs": ["520\n", "35\n", "-1392\n"]}
# expect: passed
# note: producer and consumer

import queue
import sys
import threading

jobs = queue.Queue()
total = []


def consume():
    subtotal = 0
    while (job := jobs.get()) is not None:
        subtotal += int(job)
    total.append(subtotal)


worker = threading.Thread(target=consume)
worker.start()
for word in sys.stdin.read().split()[1:]:
    jobs.put(word)
jobs.put(None)
worker.join()
print(*total)
