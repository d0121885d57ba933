# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [284264990]}
# expect: timeout
# timeout_s: 1
# note: suppresses every exception

class Suppress:
    def __enter__(self):
        return self

    def __exit__(self, *args):
        return True


def solve(n):
    while True:
        with Suppress():
            while True:
                pass
