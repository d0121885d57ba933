# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [769904857, 590215256]}
# expect: runtime_error
# note: success before any test

import os

os._exit(0)
