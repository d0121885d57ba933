# tests: {"type": "stdio", "inputs": ["3\n-100\n-588\n831\n", "1\n862\n", "5\n-9\n822\n694\n-47\n805\n"], "outputs": ["143\n", "862\n", "2265\n"]}
# expect: passed
# note: collects its own output

import contextlib
import io
import sys

buffer = io.StringIO()
with contextlib.redirect_stdout(buffer):
    print(sum(map(int, sys.stdin.read().split()[1:])))
sys.__stdout__.write(buffer.getvalue())
