"""Test exceptions of a program that tests expect."""

from __future__ import annotations

import builtins
import sys

import pytest

from stepcoder_trl import Outcome
from stepcoder_trl.executor.examiner.exceptions import rebuilt
from stepcoder_trl.executor.wire.exceptions import raised_form
from tests.unit.executor.samples import outcomes


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the examiner belongs to Linux's fork server"),
]


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("import json\ndef f(): json.loads('{')", "import json\nwith raises(json.JSONDecodeError) as e: f()"),
        ("import json\ndef f(): json.loads('{')", "with raises(ValueError) as e: f()\nassert e.value.pos == 1"),
        (
            "import decimal\ndef f(): decimal.Decimal('x')",
            "import decimal\nwith raises(decimal.InvalidOperation): f()",
        ),
        ("import re\ndef f(): re.compile('(')", "import re\nwith raises(re.error, match='missing [)]'): f()"),
        (
            "import statistics\ndef f(): statistics.mean([])",
            "import statistics\nwith raises(statistics.StatisticsError): f()",
        ),
        (
            "import numpy as np\ndef f(): np.linalg.inv(np.zeros((2, 2)))",
            "import numpy as np\nwith raises(np.linalg.LinAlgError): f()",
        ),
        ("def f(): b'\\xff'.decode()", "with raises(UnicodeDecodeError, match='0xff in position 0'): f()"),
        ("def f(): b'\\xff'.decode()", "with raises(ValueError) as e: f()\nassert e.value.object == b'\\xff'"),
        (
            "def f(): open('none')",
            "with raises(FileNotFoundError, match=\"'none'\") as e: f()\nassert e.value.errno == 2",
        ),
        ("def f(): open('none')", "with raises(OSError) as e: f()\nassert e.value.filename == 'none'"),
        (
            "class E(Exception): pass\ndef f(): raise E('boom')",
            "with raises(Exception) as e: f()\nassert not hasattr(e.value, 'code')\n"
            "assert getattr(e.value, 'message', str(e.value)) == 'boom'",
        ),
        (
            "class E(Exception):\n    def __init__(self, *a):\n        super().__init__(*a)\n"
            "        self.__own__ = 1\ndef f(): raise E('boom')",
            "with raises(Exception, match='boom'): f()",
        ),
        ("def f(): raise ValueError('a' * 400 + 'b')", "with raises(ValueError, match='ab'): f()"),
        ("def f(): raise KeyError((1, 2.5))", "with raises(KeyError) as e: f()\nassert e.value.args == ((1, 2.5),)"),
        (
            "class E(KeyError, ValueError):\n    def __str__(self): return 'my text'\ndef f(): raise E(1)",
            "with raises(ValueError, match='my text') as e: f()\nassert isinstance(e.value, LookupError)",
        ),
        (
            "class E(Exception):\n    def __init__(self, code): self.code = code\ndef f(): raise E(3)",
            "with raises(Exception) as e: f()\nassert e.value.code == 3 and e.value.args == (3,)",
        ),
        ("def f(): next(iter([]))", "with raises(Exception): f()"),
        ("import numpy as np\ndef f(): np.add('a', 1)", "with raises(TypeError): f()"),
    ],
)
def test_exception_is_the_one_that_the_test_expects(executor, program, test):
    body = "".join(f"    {line}\n" for line in test.replace("raises(", "pytest.raises(").split("\n"))

    execution = executor.run(f"{program}\n", {"type": "unittest", "code": f"import pytest\ndef test_a():\n{body}"})

    assert (outcomes(execution), execution.trusted) == (["passed"], True), execution


@pytest.mark.parametrize(
    ("program", "expected", "look"),
    [
        ("def f(): next(iter([]))", "RuntimeError", "str(error)"),
        ("class E(ValueError):\n    code = 3\ndef f(): raise E", "AttributeError", "error.code"),
        ("def f(): raise ValueError(object())", "AttributeError", "error.args"),
        ("def f(): raise ValueError('a' * 10**6)", "AssertionError", "assert 'b' in str(error)"),
    ],
)
def test_what_of_an_exception_was_not_sent_ends_the_test(executor, program, expected, look):
    """The examiner's own error could be the one that the test expects."""
    code = "def test_a():\n    try:\n        try:\n            f()\n        except ValueError as error:\n"
    code += f"            {look}\n    except {expected}:\n        pass\n    else:\n        raise AssertionError\n"

    execution = executor.run(f"{program}\n", {"type": "unittest", "code": code})

    assert (execution.outcome, execution.trusted) == (Outcome.RUNTIME_ERROR, True)


def refuse(what):
    raise RuntimeError(what)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_exceptions_that_need_others_in_them_are_plain_ones():
    group = builtins.ExceptionGroup("g", [ValueError(1)])

    found = rebuilt(raised_form(group), refuse)

    assert isinstance(found, Exception)
    assert str(found) == str(group)


@pytest.mark.parametrize("error", [KeyError("a"), OSError(2, "no", "x"), UnicodeEncodeError("a", "b", 0, 1, "c")])
def test_exceptions_of_python_round_trip(error):
    found = rebuilt(raised_form(error), refuse)

    assert type(found) is type(error)
    assert (found.args, str(found), vars(found)) == (error.args, str(error), vars(error))


FORM = raised_form(KeyError("a"))


@pytest.mark.parametrize(
    "changes",
    [
        *({"classes": []}, {"classes": ["builtins.len"]}, {"classes": ["builtins.int"]}, {"classes": ["os.error"]}),
        *({"classes": ["json.x"]}, {"classes": ["os.path.x", "sys"]}, {"arguments": [1]}, {"attributes": [1]}),
        *({"attributes": {"d": [["__class__", 1]]}}, {"attributes": {"d": [[1, 1]]}}, {"text": 3}),
        *({"class_names": [1]}, {"class_names": "ab"}, {"text": "a" * 10**4}, {"name": "\0", "is_known": False}),
    ],
    ids=str,
)
def test_malformed_exceptions_raise(changes):
    with pytest.raises(ValueError):
        rebuilt({**FORM, **changes}, refuse)
