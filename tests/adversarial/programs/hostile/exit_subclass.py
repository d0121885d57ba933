# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [420476224, 546311609]}
# expect: runtime_error
# note: SystemExit by inheritance, with a code that lies

class Leave(SystemExit):
    code = 0

    def __str__(self):
        raise self


def solve(n):
    raise Leave
