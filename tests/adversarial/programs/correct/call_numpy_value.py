# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [-3]], "outputs": [14, -6]}
# expect: passed
# timeout_s: 5
# note: numpy's numbers count as Python's

def solve(n):
    try:
        import numpy
    except ImportError:
        return n * 2
    return numpy.int64(n) * 2
