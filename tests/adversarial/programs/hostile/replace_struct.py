# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [657543158, 594281207]}
# expect: failed|runtime_error
# note: lengths of reports that lie

import struct

struct.pack = lambda *args: b"\xff" * 8
struct.unpack = lambda *args: (0,)
struct.Struct = None


def solve(n):
    return 0
