# tests: {"type": "call", "fn_name": "solve", "inputs": [["aab"], [""]], "outputs": [[{"a": 2, "b": 1}, ["a", "a", "b"]], [{}, []]]}
# expect: passed
# note: Counter counts as dict, deque as list

from collections import Counter, deque


def solve(text):
    return [Counter(text), deque(text)]
