"""Test modules of which tests would be left out."""

from __future__ import annotations

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.modules import asserts_of_module
from stepcoder_trl.executor.verdict.schema import validate_tests


PLAIN = "def test_plain():\n    assert f(1)\n"
CASE = "import unittest\nclass T(unittest.TestCase):\n    def test_plain(self):\n        self.assertTrue(f(1))\n"


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("async def test_b():\n    assert f(2)\n", "`test_b` is asynchronous"),
        ("if True:\n    def test_b():\n        assert f(2)\n", "`test_b` is asynchronous, or inside a block"),
        ("if __name__ == '__main__':\n    def test_b():\n        assert f(2)\n", "`__name__`"),
        ("if __name__ != 'x':\n    print()\n", "`__name__`"),
        ("try:\n    class T:\n        def test_b(self):\n            assert f(2)\nfinally:\n    pass\n", "`test_b`"),
        ("class TestA:\n    class TestB:\n        def test_b(self):\n            assert f(2)\n", "`test_b`"),
        ("test_b = lambda: f(2)\n", "`test_b` is a lambda"),
        ("for n in 'ab':\n    setattr(T, 'test_' + n, f)\n", "`setattr`"),
        ("def add(n):\n    setattr(T, 'test_' + n, f)\nadd('b')\n", "`setattr`"),
        ("def test_b():\n    yield\n    assert f(2)\n", "`test_b` is a generator"),
        ("class TestB:\n    def test_b(self):\n        x = yield from f(1)\n", "`test_b` is a generator"),
        ("test_b = make(1, 2)\n", "`test_b` is assigned"),
        ("test_b = check_b\n", "`test_b` is assigned"),
        ("test_b: Any = make(1, 2)\n", "`test_b` is assigned"),
        ("test_b, test_c = [1], make(2, 3)\n", "`test_c` is assigned"),
        ("test_b, test_c = makers\n", "`test_b` is assigned"),
        ("print(test_b := make(1))\n", "`test_b` is assigned"),
        ("if True:\n    test_b = functools.partial(check, 1)\n", "`test_b` is assigned"),
        ("class TestB:\n    test_c = make(1)\n    def test_b(self):\n        pass\n", "`test_c` is assigned"),
        ("for n in range(3):\n    globals()[f'test_{n}'] = make(n)\n", "`globals`"),
        ("def add():\n    vars().update(test_b=check)\nadd()\n", "`vars`"),
        ("exec('def test_b(): assert f(2)')\n", "`exec`"),
        ("T = type('T', (unittest.TestCase,), {'test_b': lambda self: None})\n", "`type`"),
        ("import unittest\nclass T(unittest.TestCase):\n    def runTest(self):\n        assert f(1)\n", "`runTest`"),
        ("del test_plain\n", "`test_plain`"),
        ("from helpers import test_b\n", "`test_b`"),
        ("import unittest\nif f(1):\n    unittest.main()\n", "`unittest.main`"),
        ("def setup_module():\n    global x\n    x = 1\n", "`setup_module`"),
        ("def setUpModule():\n    global x\n    x = 1\n", "`setUpModule`"),
        ("class Base:\n    def test_b(self):\n        pass\nclass TestC(Base):\n    pass\n", "inherits tests"),
        ("class TestC(Unknown):\n    def test_b(self):\n        pass\n", "derived from `Unknown`"),
        ("class TestC:\n    def test_b(self, tmp_path):\n        pass\n", "the fixture `tmp_path`"),
        ("import unittest\n@unittest.skipIf(f(1), '')\ndef test_b():\n    pass\n", "`skipIf`"),
        ("class TestC:\n    def test_b(self):\n        self.skipTest('')\n", "`skipTest`"),
    ],
)
def test_tests_are_never_left_out_silently(code, part):
    with pytest.raises(BadInputError, match=part):
        validate_tests({"type": "unittest", "code": PLAIN + code})


@pytest.mark.parametrize(
    "part",
    [
        "    async def test_b(self):\n        self.assertTrue(f(2))\n",
        "    class TestB:\n        def test_b(self):\n            assert f(2)\n",
        "    if True:\n        def test_b(self):\n            assert f(2)\n",
    ],
)
def test_tests_of_a_class_are_never_left_out_silently(part):
    with pytest.raises(BadInputError, match="`test_b`"):
        validate_tests({"type": "unittest", "code": CASE + part})


@pytest.mark.parametrize(
    "end",
    [
        "if __name__ == '__main__':\n    unittest.main()\n",
        "if '__main__' == __name__:\n    import sys\n    sys.exit(pytest.main([__file__]))\n",
        "unittest.main()\n",
        "class Helper:\n    def value(self):\n        def test_inner():\n            pass\n        test_inner()\n",
    ],
)
def test_what_is_no_test_may_follow(end):
    assert asserts_of_module(CASE + end).asserts == ["assert f(1)"]


@pytest.mark.parametrize(
    "line",
    [
        "test_cases = [(1, 2), (3, 4)]",
        "test_cases: list = [f for f in range(3)]",
        "test_data, tests = {'a': 1}, sorted([3, 1])",
        "test_array = np.array([1, 2])",
        "test_words = 'a b'.split()",
        "def helper():\n    test = solve\n    return globals()['f'], vars()",
        "for test in [1, 2]:\n    print(test)",
    ],
)
def test_data_under_the_name_of_a_test_is_none(line):
    assert len(asserts_of_module(f"{line}\n{PLAIN}").asserts) == 1


def test_later_test_of_the_same_name_replaces_the_earlier_one():
    code = f"{PLAIN.replace('1', '0')}{PLAIN}class T:\n    def test_a(self):\n        assert f(2)\n"
    code += "    def test_a(self):\n        assert f(3)\n"

    assert asserts_of_module(code).asserts == ["assert f(1)", "assert f(3)"]
