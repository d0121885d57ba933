# tests: {"type": "stdio", "inputs": ["3\n729\n759\n231\n", "1\n916\n", "5\n-477\n831\n309\n-481\n-860\n"], "outputs": ["1719\n", "916\n", "-678\n"]}
# expect: passed
# note: tempfile and the working folder

import os
import sys
import tempfile

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "numbers.txt")
    with open(path, "w") as file:
        file.write(sys.stdin.read())
    with open(path) as file, open("copy.txt", "w") as copy:
        copy.write(file.read())
with open("copy.txt") as file:
    print(sum(map(int, file.read().split()[1:])))
