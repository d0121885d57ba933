# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [903325796, 989115721]}
# expect: runtime_error
# note: is not a compile error

def solve(n):
    return eval("1 +")
