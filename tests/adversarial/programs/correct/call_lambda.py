# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [-3], [100000000000000000000]], "outputs": [14, -6, 200000000000000000000]}
# expect: passed
# note: a lambda

solve = lambda n: n * 2
