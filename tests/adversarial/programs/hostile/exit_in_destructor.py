# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [164869144, 853027620]}
# expect: failed|runtime_error
# note: leaves when the answer is thrown away

import os


class Last:
    def __del__(self):
        os._exit(0)


def solve(n):
    return Last()
