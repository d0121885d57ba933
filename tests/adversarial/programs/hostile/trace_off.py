# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [766575949, 819616131]}
# expect: failed
# note: switches the tracer off

import sys
import threading

sys.settrace(None)
sys.setprofile(None)
threading.settrace(None)


def solve(n):
    return 0
