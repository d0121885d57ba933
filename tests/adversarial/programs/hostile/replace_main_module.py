# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [140044358, 342546477]}
# expect: failed|runtime_error
# note: the module the tests are to be called in

import sys
import types


class Everything(types.ModuleType):
    def __getattribute__(self, name):
        return lambda *args: 0


sys.modules["__main__"] = Everything("__main__")


def solve(n):
    return 0
