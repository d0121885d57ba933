# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [455642352, 861237204]}
# expect: failed
# note: runs code if somebody unpickles it

import os


class Bomb:
    def __reduce__(self):
        return os._exit, (0,)


def solve(n):
    return Bomb()
