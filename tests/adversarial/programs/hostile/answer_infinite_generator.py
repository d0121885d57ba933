# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [520938539, 978738944]}
# expect: failed
# note: must not be consumed

def solve(n):
    def forever():
        while True:
            yield n

    return forever()
