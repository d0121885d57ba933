# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [-3], [100000000000000000000]], "outputs": [14, -6, 200000000000000000000]}
# expect: passed
# note: wrapped, cached

from functools import cache, wraps


def checked(function):
    @wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@checked
@cache
def solve(n):
    return n * 2
