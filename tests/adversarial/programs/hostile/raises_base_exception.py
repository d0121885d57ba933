# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [978026362, 595899148]}
# expect: runtime_error
# note: not caught by except Exception

class Odd(BaseException):
    pass


def solve(n):
    raise Odd
