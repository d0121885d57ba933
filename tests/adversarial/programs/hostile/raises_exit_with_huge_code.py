# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [567552547, 802553371]}
# expect: runtime_error
# note: SystemExit with an object

class Code:
    def __str__(self):
        while True:
            pass


def solve(n):
    raise SystemExit(Code())
