"""Test that files of one test are gone before the next."""

from __future__ import annotations

import os
import time

import pytest

from stepcoder_trl import Outcome
from stepcoder_trl.executor.child import between_tests
from stepcoder_trl.executor.child.between_tests import FolderState


def tree(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "solution.py").write_text("pass")
    (tmp_path / "kept" / "inner").mkdir(parents=True)
    (tmp_path / "kept" / "file").touch()
    return tmp_path


@pytest.mark.parametrize("rounds", [1, 3])
def test_added_files_and_folders_are_removed(folder, rounds):
    state = FolderState(str(folder))
    before = tree(folder)
    for _ in range(rounds):
        (folder / "new").touch()
        (folder / "kept" / "new").touch()
        (folder / "kept" / "inner" / "a" / "b").mkdir(parents=True)
        (folder / "kept" / "inner" / "a" / "b" / "c").touch()
        (folder / "link").symlink_to(folder)
        (folder / "broken").symlink_to("nowhere")
        os.mkfifo(folder / "pipe")

        assert state.restore()
        assert tree(folder) == before


def test_deep_folders_are_removed(folder):
    state = FolderState(str(folder))
    before = os.getcwd()
    os.chdir(folder)
    try:
        for _ in range(3000):  # the path is longer than a path may be
            os.mkdir("deeper")
            os.chdir("deeper")
        open("file", "w").close()
    finally:
        os.chdir(before)

    assert state.restore()
    assert tree(folder) == {"solution.py", "kept", "kept/inner", "kept/file"}


def test_folder_that_did_not_change_is_not_read(folder, monkeypatch):
    past = time.time() - 10
    for path in (folder, folder / "kept", folder / "kept" / "inner"):
        os.utime(path, (past, past))
    state = FolderState(str(folder))
    monkeypatch.setattr(between_tests, "_scandir", None)

    assert state.restore()
    assert state.restore()


def test_folder_that_cannot_be_restored_is_reported(folder):
    state = FolderState(str(folder))
    (folder / "kept" / "inner").rmdir()

    assert not state.restore()


def test_link_in_place_of_a_folder_is_not_followed(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "file").touch()
    state = FolderState(str(folder))
    (folder / "kept" / "inner").rmdir()
    (folder / "kept" / "inner").symlink_to(outside)

    assert not state.restore()
    assert (outside / "file").exists()


DOUBLES = {"type": "stdio", "inputs": ["7\n", "8\n", "9\n"], "outputs": ["14\n", "16\n", "18\n"]}


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "write",
    [
        "os.mkdir('d')\nopen('d/a', 'w').write(str(n * 2))\nprint(open('d/a').read())",
        "open('log', 'a').write(f'{n * 2}\\n')\nprint(open('log').read())",
        "open('new', 'x').write(str(n * 2))\nprint(open('new').read())",
        "print(n if os.path.exists('seen') else n * 2)\nopen('seen', 'w')",
        "os.makedirs('a/b/c/d')\nprint(n * 2)",
        "os.mkdir(os.path.expanduser('~/d'))\nos.chdir('d')\nopen('a', 'x').write('1')\nprint(n * 2)",
        "os.symlink('a', 'b')\nos.mkfifo('c')\nprint(n * 2)",
        "import sqlite3\nc = sqlite3.connect('db')\n"
        "c.execute('create table t (x)')\nc.execute('insert into t values (?)', [n])"
        "\nc.commit()\nprint(c.execute('select sum(x) * 2 from t').fetchone()[0])",
        "import tempfile\nopen(tempfile.gettempdir() + '/t', 'x')\nprint(n * 2)",
        "import shelve\ns = shelve.open('s')\ns['n'] = s.get('n', 0) + n\nprint(s['n'] * 2)\ns.close()",
    ],
)
def test_files_of_a_stdio_test_are_gone_in_the_next(fast_executor, write):
    program = "import os\nn = int(input())\n" + write

    assert fast_executor.run(program, DOUBLES).outcome is Outcome.PASSED


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "tests",
    [
        {"type": "call", "fn_name": "f", "inputs": [[1], [2], [3]], "outputs": [2, 4, 6]},
        {
            "type": "assert",
            "asserts": ["assert f(1) == 2", "def check(c):\n    assert c(3) == 6\ncheck(f)"],
        },
    ],
)
def test_files_of_a_call_are_gone_in_the_next_but_those_of_the_module_stay(fast_executor, tests):
    program = (
        "import os\nos.makedirs('data/more')\nopen('data/two', 'w').write('2')\n"
        "def f(n):\n    os.mkdir('mine')\n    open('data/more/x', 'x')\n    return n * int(open('data/two').read())\n"
    )

    assert fast_executor.run(program, tests).outcome is Outcome.PASSED
