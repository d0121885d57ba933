# tests: {"type": "stdio", "inputs": ["3\n-719\n973\n-888\n", "1\n-964\n", "5\n243\n-275\n-306\n-341\n696\n"], "outputs": ["-634\n", "-964\n", "17\n"]}
# expect: passed
# note: code in odd places

import sys


class Meta(type):
    def __new__(mcs, name, bases, namespace):
        namespace["total"] = sum(namespace["numbers"])
        return super().__new__(mcs, name, bases, namespace)


class Solution(metaclass=Meta):
    numbers = [int(word) for word in sys.stdin.read().split()[1:]]

    def __init_subclass__(cls):
        print(cls.total)


class Printed(Solution):
    numbers = Solution.numbers
