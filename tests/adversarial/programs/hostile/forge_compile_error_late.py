# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [583672133, 990874508]}
# expect: failed|runtime_error|compile_error
# note: claims a compile error while it runs

import os
import sys

protocol = sys.modules.get("stepcoder_trl.executor.protocol")


def solve(n):
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, protocol.frame({"compile_error": "no", "line": -(10**9)}))
        except OSError:
            pass
    os._exit(0)
