# tests: {"type": "stdio", "inputs": ["3\n831\n958\n934\n", "1\n142\n", "5\n-523\n-804\n45\n599\n871\n"], "outputs": ["2723\n", "142\n", "188\n"]}
# expect: passed
# note: the interpreter waits for it

import sys
import threading
import time


def main():
    time.sleep(0.05)
    print(sum(map(int, sys.stdin.read().split()[1:])))


threading.Thread(target=main).start()
