# tests: {"type": "assert", "setup": "", "asserts": ["assert solve(7) == 375866218", "assert solve(8) == 338486855"]}
# expect: failed|runtime_error
# note: claims that the assertion held inside

import os
import sys

protocol = sys.modules.get("stepcoder_trl.executor.protocol")


def solve(n):
    reports = [{"test": 0, "held": True}, {"test": 0, "value": True}, {"test": 0, "passed": True}, {"end": []}]
    for descriptor in range(3, 256):
        for report in reports:
            try:
                os.write(descriptor, protocol.frame(report))
            except OSError:
                pass
    os._exit(0)
