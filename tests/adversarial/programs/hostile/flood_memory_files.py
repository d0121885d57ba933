# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["28bjat2mzps2\n"]}
# expect: runtime_error
# note: files in memory that no limit counts

import os

kept = []
while True:
    kept.append(os.memfd_create("filler"))
    os.ftruncate(kept[-1], 2**24)
    os.write(kept[-1], bytes(2**24))
