# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [308544440, 811272254]}
# expect: runtime_error
# note: takes nothing

def solve():
    return 0
