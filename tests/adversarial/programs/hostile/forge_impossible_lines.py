# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [580704971, 756418236]}
# expect: failed|runtime_error
# note: claims to have executed lines that do not exist

import os
import sys

protocol = sys.modules.get("stepcoder_trl.executor.protocol")


def solve(n):
    for lines in ([-1, 0, 10**30], "all", {"1": 2}, [True, 1.5, None], [[]]):
        for descriptor in range(3, 256):
            try:
                os.write(descriptor, protocol.frame({"end": lines}))
            except OSError:
                pass
    os._exit(0)
