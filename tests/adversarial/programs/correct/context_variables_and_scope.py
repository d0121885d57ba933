# tests: {"type": "stdio", "inputs": ["3\n420\n-804\n693\n", "1\n-297\n", "5\n-77\n39\n-155\n-16\n955\n"], "outputs": ["309\n", "-297\n", "746\n"]}
# expect: passed
# note: global, nonlocal, walrus, match, star

import sys

total = 0


def add(*numbers, **options):
    global total

    def inner():
        nonlocal numbers
        numbers = numbers[:]

    inner()
    match numbers:
        case []:
            return
        case [first, *rest]:
            total += first
            add(*rest)


if (words := sys.stdin.read().split()[1:]):
    add(*map(int, words))
print(total)
