# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [691639558, 521171972]}
# expect: failed|timeout
# timeout_s: 1
# note: the answer cannot be thrown away

class Sticky:
    def __del__(self):
        while True:
            pass


def solve(n):
    return Sticky()
