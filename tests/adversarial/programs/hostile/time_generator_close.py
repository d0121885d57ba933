# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [672512024]}
# expect: timeout
# timeout_s: 1
# note: refuses to be closed

def solve(n):
    def stubborn():
        while True:
            try:
                yield 1
            except BaseException:
                pass

    for _ in stubborn():
        pass
