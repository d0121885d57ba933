# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [[394002584, 364086873, 107857381], [489615366, 343682594, 716527247]]}
# expect: failed
# timeout_s: 1
# note: a thread changes the list while it is being sent

import threading


def solve(n):
    value = [0] * 1000

    def churn():
        while True:
            value.clear()
            value.extend([1] * 1000)

    threading.Thread(target=churn, daemon=True).start()
    return value
