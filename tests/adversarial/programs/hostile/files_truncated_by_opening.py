# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["2b8krjs2g4er\n"]}
# expect: runtime_error
# note: empties a file that it may only read

import os

os.open(os.__file__, os.O_RDONLY | os.O_TRUNC)
print("wrong")
