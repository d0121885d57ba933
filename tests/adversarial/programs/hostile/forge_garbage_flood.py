# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [991338326, 442726904]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: garbage to every descriptor for ever

import os

while True:
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, os.urandom(4096))
        except OSError:
            pass
