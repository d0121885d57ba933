# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [567284149, 201569254]}
# expect: failed|runtime_error|compile_error|memory_exceeded|timeout
# note: every kind of report, in every order, with every kind of value

import itertools
import os
import sys

protocol = sys.modules.get("stepcoder_trl.executor.protocol")
keys = ["compiled", "ready", "test", "value", "module", "memory", "soft", "exit", "end", "error", "ended", "held"]
values = [0, 1, None, True, "x", [], {}, [1], {"error": "x"}, -1, 10**40, 1.5]


def solve(n):
    for key, value in itertools.product(keys, values):
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, protocol.frame({key: value}))
                os.write(descriptor, protocol.frame({"test": 0, key: value}))
            except OSError:
                pass
    os._exit(0)
