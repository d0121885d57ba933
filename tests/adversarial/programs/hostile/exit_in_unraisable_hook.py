# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["y9czm4p6z2xa\n"]}
# expect: failed
# note: ends when an error cannot be raised

import os
import sys


class Broken:
    def __del__(self):
        raise ValueError


sys.unraisablehook = lambda *_: os._exit(0)
broken = Broken()
print("wrong")
