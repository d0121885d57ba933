# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [220170947]}
# expect: timeout
# timeout_s: 1
# note: goes on in finally

def solve(n):
    while True:
        try:
            while True:
                pass
        finally:
            continue
