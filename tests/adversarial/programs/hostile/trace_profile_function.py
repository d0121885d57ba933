# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [465378631]}
# expect: timeout
# timeout_s: 1
# note: a profile function that never returns

import sys


def profile(frame, event, arg):
    while True:
        pass


def solve(n):
    sys.setprofile(profile)
    return len([])
