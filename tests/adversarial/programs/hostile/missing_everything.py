# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [311913441, 500974402]}
# expect: runtime_error
# note: an empty program is run like any other

pass
