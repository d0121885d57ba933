# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [877099090, 410666714]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: announces a report of four gigabytes and sends a few bytes

import os


def solve(n):
    for header in (b"\xff\xff\xff\xff", b"\x00\x00\x00\xff", b"4294967295\n", b"\x7f" * 8):
        for descriptor in range(3, 256):
            try:
                os.write(descriptor, header)
            except OSError:
                pass
    while True:
        pass
