# tests: {"type": "stdio", "inputs": ["3\n488\n712\n483\n", "1\n-269\n", "5\n761\n-359\n-61\n226\n-828\n"], "outputs": ["1683\n", "-269\n", "-261\n"]}
# expect: passed
# note: closed when the program ends

import sys


def words():
    try:
        for word in sys.stdin.read().split()[1:]:
            yield int(word)
        yield None
    finally:
        print(total)


total = 0
stream = words()
for number in stream:
    if number is None:
        break
    total += number
