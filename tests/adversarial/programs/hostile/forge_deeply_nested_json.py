# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [350047562, 284170153]}
# expect: failed|runtime_error
# note: a report that overflows the stack of whoever parses it

import os
import struct
import sys

protocol = sys.modules.get("stepcoder_trl.executor.protocol")


def solve(n):
    empty = protocol.frame([])
    text = b"[" * 200_000 + b"]" * 200_000
    headers = [struct.pack(code, len(text)) for code in (">I", "<I", ">Q", "<Q")] + [b"%d\n" % len(text), empty[:-2]]
    for header in headers:
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, header + text)
            except OSError:
                pass
    os._exit(0)
