# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["3383r7szev6m\n", "xyzgnatw7b7c\n"]}
# expect: failed|runtime_error
# note: whatever warns from now on raises

import warnings

warnings.simplefilter("error")
warnings.showwarning = None
print("wrong")
