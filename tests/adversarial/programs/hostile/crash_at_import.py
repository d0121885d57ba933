# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [876317099, 679671270]}
# expect: runtime_error
# note: before any test

import ctypes

ctypes.string_at(1)
