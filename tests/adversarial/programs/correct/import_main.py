# tests: {"type": "stdio", "inputs": ["3\n-734\n-191\n541\n", "1\n-400\n", "5\n-393\n895\n-290\n-522\n-476\n"], "outputs": ["-384\n", "-400\n", "-786\n"]}
# expect: passed
# note: imports itself, and its own annotations

from __future__ import annotations

import sys
import typing

import __main__


class Node:
    next: Node | None = None


assert typing.get_type_hints(Node)["next"] == typing.Optional[Node]
assert __main__.Node is Node
print(sum(map(int, sys.stdin.read().split()[1:])))
