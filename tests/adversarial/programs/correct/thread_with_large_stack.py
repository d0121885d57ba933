# tests: {"type": "stdio", "inputs": ["3\n-588\n-176\n-504\n", "1\n-229\n", "5\n-651\n-307\n39\n-139\n908\n"], "outputs": ["-1268\n", "-229\n", "-150\n"]}
# expect: passed
# note: deep recursion the way contestants do it

import sys
import threading

sys.setrecursionlimit(10**6)
threading.stack_size(128 * 2**20)


def total(numbers, index):
    return 0 if index == len(numbers) else numbers[index] + total(numbers, index + 1)


def main():
    numbers = list(map(int, sys.stdin.read().split()[1:]))
    assert total([1] * 20_000, 0) == 20_000
    print(total(numbers, 0))


thread = threading.Thread(target=main)
thread.start()
thread.join()
