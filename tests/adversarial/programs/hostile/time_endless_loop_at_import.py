# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [397554538, 792100200]}
# expect: timeout
# timeout_s: 1
# note: never gets to the tests

while True:
    pass
