# tests: {"type": "stdio", "inputs": ["3\n-337\n957\n828\n", "1\n-36\n", "5\n-841\n155\n-241\n986\n861\n"], "outputs": ["1448\n", "-36\n", "920\n"]}
# expect: passed
# note: each with a heap of its own

import sys
import threading

totals = []
words = sys.stdin.read().split()[1:]


def add(word):
    totals.append(int(word) + len(bytes(10**5)) - 10**5)


threads = [threading.Thread(target=add, args=(word,)) for word in words + ["0"] * 40]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sum(totals))
