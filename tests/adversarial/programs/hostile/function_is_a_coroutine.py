# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [798451642, 982513334]}
# expect: failed
# note: never awaited

async def solve(n):
    return n
