# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [-3], [100000000000000000000]], "outputs": [14, -6, 200000000000000000000]}
# expect: passed
# note: output is no answer

def solve(n):
    print("debug", n)
    return n * 2
