# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [561588134, 317944644]}
# expect: failed|runtime_error
# note: len, str, int, repr, hash, id and the rest

import builtins

for name in ("len", "str", "int", "float", "repr", "hash", "id", "abs", "min", "max", "sum", "all", "any", "sorted"):
    setattr(builtins, name, lambda *args, **kwargs: 0)


def solve(n):
    return 0
