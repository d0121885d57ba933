# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [762227.637, 987806.305]}
# expect: failed
# note: the comparison of floats, if it happens here

import cmath
import math

math.isclose = cmath.isclose = lambda *args, **kwargs: True
math.fabs = lambda value: 0.0


def solve(n):
    return 0.0
