# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [108054209]}
# expect: timeout
# timeout_s: 1
# note: handlers that go on

import signal

for number in signal.valid_signals():
    try:
        signal.signal(number, lambda *_: None)
    except (OSError, ValueError):
        pass


def solve(n):
    while True:
        pass
