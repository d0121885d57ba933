# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [572353721, 533509031]}
# expect: failed|runtime_error
# note: reports in the executor's own format, made with its own modules

import os
import sys

protocol = sys.modules.get("stepcoder_trl.executor.protocol")


def solve(n):
    report = protocol.frame({"test": 0, "value": protocol.encode(n)}) + protocol.frame({"end": [1]})
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, report)
        except OSError:
            pass
    os._exit(0)
