# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [957686886, 820555282]}
# expect: compile_error
# note: not a chance
# source: "from __future__ import braces\n"
