# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [196689158, 963912999]}
# expect: failed|runtime_error
# note: claims that the child could not be started, which is nobody's fault

import os
import sys

protocol = sys.modules.get("stepcoder_trl.executor.protocol")


def solve(n):
    for descriptor in range(3, 256):
        for report in ({"not_started": "disk full"}, {"infrastructure": "disk full"}, {"error": "disk full"}):
            try:
                os.write(descriptor, protocol.frame(report))
            except OSError:
                pass
    os._exit(0)
