# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["257u5dbx9rqe\n", "fj3wwkqwxey5\n"]}
# expect: failed|runtime_error
# note: a timer that goes off later

import signal

signal.setitimer(signal.ITIMER_REAL, 0.02)
print("wrong")
