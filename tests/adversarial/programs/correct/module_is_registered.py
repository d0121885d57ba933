# tests: {"type": "stdio", "inputs": ["3\n555\n27\n-188\n", "1\n157\n", "5\n-144\n-37\n119\n465\n-952\n"], "outputs": ["394\n", "157\n", "-549\n"]}
# expect: passed
# note: sys.modules and pickling of its own classes

import pickle
import sys
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(order=True)
class Point:
    x: int
    tags: list = field(default_factory=list)


class Pair(NamedTuple):
    a: int
    b: int


assert sys.modules[__name__].Point is Point and __name__ == "__main__"
assert pickle.loads(pickle.dumps([Point(1), Pair(1, 2)])) == [Point(1), Pair(1, 2)]
print(sum(map(int, sys.stdin.read().split()[1:])))
