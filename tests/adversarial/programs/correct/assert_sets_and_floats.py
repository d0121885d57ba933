# tests: {"type": "assert", "setup": "", "asserts": ["assert abs(area(1) - 3.14159) < 0.001", "assert letters('aab') == {'a', 'b'}", "assert is_even(4)", "assert not is_even(3)", "assert is_even(4) is True", "assert 'a' in letters('abc')", "import math\nassert math.isclose(area(2), 12.566370614359172, rel_tol=1e-9)"]}
# expect: passed
# note: sets, floats, truth, membership

import math


def area(radius):
    return math.pi * radius**2


def letters(text):
    return set(text)


def is_even(n):
    return n % 2 == 0
