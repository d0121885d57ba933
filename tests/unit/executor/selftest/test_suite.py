"""Test the conformance suite on correct and broken backends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, Execution, ExecutorConfig, Outcome, SandboxError
from stepcoder_trl.cli.main import main
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.selftest import check_sandbox, leftovers, load, run_selftest


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux"),
]

SOME = ("call_long_integers", "files_written_outside", "exit_by_finalizing_python")
HOSTILE = load("hostile")[0].name


class AlwaysPasses:
    """Backend that passes every program."""

    def submit(self, program, tests):
        done: Future[Execution] = Future()
        done.set_result(Execution(Outcome.PASSED, (), frozenset(), frozenset({10**6}), 0.0, True))
        return done


class AlwaysFails:
    """Backend that fails to run any program."""

    def submit(self, program, tests):
        failed: Future[Execution] = Future()
        failed.set_exception(SandboxError("out of order"))
        return failed


def test_local_sandbox_passes():
    report = check_sandbox(ExecutorConfig(num_workers=2), SOME)

    assert report.ok, report.findings
    assert (report.hostile, report.correct) == (2, 1)
    assert {"outcomes", "leftovers", "fork servers", "memory", "closing"} <= set(report.checked)


def test_backend_that_passes_everything_is_reported():
    report = run_selftest(AlwaysPasses(), [HOSTILE])

    assert [one.found for one in report.findings if one.kind == "hostile"] == ["passed", "lines [1000000]"]


def test_backend_that_cannot_run_programs_raises():
    with pytest.raises(SandboxError, match="out of order"):
        run_selftest(AlwaysFails(), [HOSTILE])


def test_unknown_program_raises():
    with pytest.raises(BadInputError, match="no program 'nonesuch'"):
        run_selftest(AlwaysPasses(), ["nonesuch"])


def test_census_finds_leftovers(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "DEADLINE_S", 0.0)
    monkeypatch.setattr(leftovers, "_SHARED_FOLDERS", (str(tmp_path / "shared"),))
    root = tmp_path / "scratch"
    (root / "worker").mkdir(parents=True)
    (tmp_path / "shared").mkdir()
    census = leftovers.Census(root)
    stray = subprocess.Popen(
        [sys.executable, "-c", "import os; os.fork() and os._exit(0); print('up', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"HOME": str(root / "worker")},
        start_new_session=True,
    )
    assert stray.stdout.readline() == b"up\n"
    stray.wait()

    (root / "worker" / "file").touch()
    (tmp_path / "shared" / "planted").touch()
    found = census.left_behind({os.getpid()})
    stray.communicate(b"\n")

    kinds = [one.split()[0] for one in found]
    assert sorted(kinds) == ["file", "file", "fork", "process"]


def test_process_that_ends_while_it_is_listed_has_no_descendants(monkeypatch):
    def ended(path, pattern):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "glob", ended)

    assert leftovers.descendants() == []


def test_command_prints_result_and_writes_report(tmp_path, capsys):
    out = tmp_path / "report.json"

    with pytest.raises(SystemExit) as end:
        main(["selftest", "--only", *SOME, "--out", str(out)])

    assert end.value.code == 0
    assert "2 hostile and 1 correct programs" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report["ok"] is True
    assert report["findings"] == []


def test_command_lists_failures(tmp_path, capsys, monkeypatch):
    from stepcoder_trl.executor.selftest import corpus

    folder = tmp_path / "hostile"
    folder.mkdir()
    (tmp_path / "correct").mkdir()
    tests = {"type": "call", "fn_name": "f", "inputs": [[]], "outputs": [1]}
    header = f"# tests: {json.dumps(tests)}\n# expect: failed\n# note: passes\n"
    (folder / "fooled.txt").write_text(header + "def f():\n    return 1\n")
    monkeypatch.setattr(corpus.load, "__defaults__", (Path(tmp_path),))

    with pytest.raises(SystemExit) as end:
        main(["selftest"])

    assert end.value.code == 1
    row = next(line for line in capsys.readouterr().out.splitlines() if "fooled" in line)
    assert row.split()[:3] == ["hostile/fooled", "failed", "passed"]


def test_given_executor_is_checked_for_leftovers(executor):
    report = run_selftest(executor, SOME)

    assert isinstance(executor, CodeExecutor)
    assert report.ok, report.findings
    assert report.growth_bytes is not None
