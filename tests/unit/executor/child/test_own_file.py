"""Test that a program finds its own text, as a script does."""

from __future__ import annotations

import pytest

from stepcoder_trl import Outcome


pytestmark = pytest.mark.sandbox
FUNCTION = "def f(x):\n    return x * 2\n"


@pytest.mark.parametrize(
    ("program", "output"),
    [
        (f"import inspect\n{FUNCTION}print(inspect.getsource(f).count('return'))", "1"),
        (f"import inspect\nclass A:\n    y = 1\n{FUNCTION}print(inspect.getsource(A).strip())", "class A:\n    y = 1"),
        ("print(open(__file__).read(), end='')", "print(open(__file__).read(), end='')"),
        ("import sys\nprint(open(sys.argv[0]).readline(), len(sys.argv))", "import sys\n 1"),
        ("import linecache\nprint(linecache.getline(__file__, 1))", "import linecache\n"),
        ("import os\nprint(os.path.basename(__file__), os.listdir('.'))", "solution.py ['solution.py']"),
        ("import traceback\ntry: 1 / 0\nexcept ZeroDivisionError: print('1 / 0' in traceback.format_exc())", "True"),
        ("x = 'ä\U0001f40d'\nprint(len(open(__file__, encoding='utf-8').read().split('\\n')))", "2"),
    ],
)
def test_program_can_read_its_own_text(fast_executor, program, output):
    tests = {"type": "stdio", "inputs": ["", ""], "outputs": [output, output]}

    execution = fast_executor.run(program, tests)

    assert execution.outcome is Outcome.PASSED, execution.tests
