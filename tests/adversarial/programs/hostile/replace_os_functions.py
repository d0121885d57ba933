# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [586983919, 270154785]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: reads, writes and process ids that lie

import os
import posix

for module in (os, posix):
    module.write = lambda descriptor, data: len(data)
    module.read = lambda descriptor, count: b""
    module.getpid = module.getppid = lambda: 1
    module._exit = lambda status: None
    module.close = module.dup2 = module.lseek = lambda *args: 0


def solve(n):
    return 0
