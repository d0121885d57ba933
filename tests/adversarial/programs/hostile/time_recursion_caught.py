# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [809056616]}
# expect: timeout|runtime_error
# timeout_s: 1
# note: doubles at every level when the stack overflows

def dive():
    try:
        dive()
    finally:
        dive()


def solve(n):
    dive()
