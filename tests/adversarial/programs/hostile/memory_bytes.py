# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [758787622]}
# expect: memory_exceeded
# note: fifty gigabytes at once

def solve(n):
    return len(bytearray(50 * 2**30))
