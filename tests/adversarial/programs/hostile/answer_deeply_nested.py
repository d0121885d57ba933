# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [[391517658, 828573695, 581486822], [817804724, 622525048, 728542991]]}
# expect: failed|runtime_error
# note: a hundred thousand lists deep

def solve(n):
    value = []
    for _ in range(100_000):
        value = [value]
    return value
