# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [856458513, 634561641]}
# expect: runtime_error|failed
# note: a function that is a property of its module

import sys
import types


class Module(types.ModuleType):
    @property
    def solve(self):
        raise SystemExit(0)


sys.modules[__name__].__class__ = Module
