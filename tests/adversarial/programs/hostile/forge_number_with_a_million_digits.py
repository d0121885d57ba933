# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [807477414, 272572719]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: a report whose number takes long to read

import os
import sys

protocol = sys.modules.get("stepcoder_trl.executor.protocol")


def solve(n):
    sys.set_int_max_str_digits(0) if hasattr(sys, "set_int_max_str_digits") else None
    frame = protocol.frame({"test": 0, "value": 10**100_000})
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, frame)
        except OSError:
            pass
    os._exit(0)
