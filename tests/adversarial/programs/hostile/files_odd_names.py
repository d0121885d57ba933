# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["7z66xx4v89jn\n"]}
# expect: failed
# note: names that are not text, or look like options

import os

for name in (b"\xff\xfe", b"-rf", b" ", b"\n", b"*", b"..x", b"a" * 255, "\u202e".encode()):
    open(os.path.join(b".", name), "w").close()
print("wrong")
