# tests: {"type": "stdio", "inputs": ["3\n601\n-815\n630\n", "1\n367\n", "5\n-608\n747\n-986\n167\n-386\n"], "outputs": ["416\n", "367\n", "-1066\n"]}
# expect: passed
# note: a buffer that is flushed when the program ends

import io
import sys

out = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=False)
out.write(str(sum(map(int, sys.stdin.read().split()[1:]))))
