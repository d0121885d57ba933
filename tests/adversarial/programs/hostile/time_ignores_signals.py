# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [877342419]}
# expect: timeout
# timeout_s: 1
# note: ignores whatever can be ignored

import signal

for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass


def solve(n):
    while True:
        pass
