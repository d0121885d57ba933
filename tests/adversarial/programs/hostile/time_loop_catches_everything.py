# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [784641064]}
# expect: timeout
# timeout_s: 1
# note: no exception stops it

def solve(n):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
