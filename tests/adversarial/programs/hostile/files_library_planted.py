# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["b99q3c3v2swf\n"]}
# expect: runtime_error
# note: code that the next interpreter would run

import os

with open(os.path.join(os.path.dirname(os.__file__), "site-packages", "planted.pth"), "w") as file:
    file.write("import os\n")
