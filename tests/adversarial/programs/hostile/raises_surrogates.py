# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [181015896, 673410636]}
# expect: runtime_error
# note: a message that UTF-8 cannot encode

def solve(n):
    raise ValueError("\udcff\ud800")
