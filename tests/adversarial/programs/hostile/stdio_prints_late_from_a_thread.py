# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["tmgx8ftmqjsu\n", "j6h585rr87nt\n"]}
# expect: failed
# note: a daemon thread that prints into the next test

import threading
import time


def later():
    while True:
        time.sleep(0.01)
        print("late", flush=True)


threading.Thread(target=later, daemon=True).start()
print("wrong")
