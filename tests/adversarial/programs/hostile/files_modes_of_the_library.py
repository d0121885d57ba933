# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["5myfyr529kgf\n"]}
# expect: failed|runtime_error
# note: takes the library's permissions away

import os

for path in (os.__file__, os.path.dirname(os.__file__), "/usr/lib", "/etc/passwd"):
    os.chmod(path, 0)
print("wrong")
