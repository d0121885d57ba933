# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["n9hcwh36pfam\n"]}
# expect: failed
# note: by the shell

import os

print(os.system("touch /tmp/planted; sleep 600 &"))
