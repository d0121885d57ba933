"""
Tests that need no torch, under every supported Python that is installed, and a comparison of verdicts.

`make test-matrix` compares verdicts and lines, and runs some of the hostile programs. `make test-versions` runs all.
Interpreters are looked up in `STEPCODER_PYTHONS` (paths, separated as in `PATH`), on the `PATH` and in pyenv's folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl.executor.selftest import load
from tests.fixed_verdicts import differences, new_executor, samples, verdicts


ROOT = Path(__file__).parents[2]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
# No torch.
PACKAGES = (
    *("coverage>=7.6", "hypothesis>=6.100", "numpy", "pytest>=8", "pytest-timeout>=2.3", "rich>=13"),
    *("setuptools>=77", "wheel"),
)
# For tests of masks. They double the installation.
TOKENIZERS = ("sentencepiece>=0.2", "tokenizers", "transformers>=5.0")
# For tests of the HTTP service and its client.
SERVICE = ("httpx2>=2.0", "prometheus-client>=0.20", "starlette>=0.40", "uvicorn>=0.30")
TESTS = (
    *("tests/unit/executor", "tests/unit/test_parsing.py", "tests/unit/masking", "tests/unit/test_metrics.py"),
    *("tests/unit/curriculum", "tests/unit/test_rewards.py", "tests/unit/cli/test_main.py"),
    *("tests/unit/cli/test_mask.py", "tests/unit/data", "tests/adversarial"),
    "--ignore=tests/unit/data/test_canonical_solutions.py",  # takes minutes; some of them are compared below
)
HOSTILE = load("hostile")[::12]  # of hundreds; `make test-versions` runs all
QUICK = ("tests/unit/test_parsing.py", "tests/unit/curriculum", "tests/unit/test_rewards.py")
pytestmark = pytest.mark.timeout(1200)  # a first run installs the packages


def candidates() -> Iterator[str]:
    """Yield paths of possible interpreters."""
    yield from filter(None, os.environ.get("STEPCODER_PYTHONS", "").split(os.pathsep))
    yield from filter(None, (shutil.which(f"python{version}") for version in VERSIONS))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob("versions/*/bin/python"), reverse=True))


@lru_cache
def interpreters() -> dict[str, str]:
    """Return the path of the first interpreter of each version."""
    found: dict[str, str] = {}
    for path in candidates():
        command = [path, "-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), path)
    return found


@lru_cache
def environment(version: str, *more: str) -> str:
    """Make a virtual environment with the package and its test packages, once for each set. Return its Python."""
    if version not in interpreters():
        pytest.skip(f"Python {version} is not installed. Name an interpreter in STEPCODER_PYTHONS.")
    packages = (*PACKAGES, *more)
    key = hashlib.sha256(repr((interpreters()[version], packages)).encode()).hexdigest()[:12]
    folder = ROOT / ".matrix" / f"python-{version}-{key}"
    python = str(folder / "bin" / "python")
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([interpreters()[version], "-m", "venv", str(folder)], check=True)
        install = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run([*install, *packages], check=True)
        subprocess.run([*install, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], check=True)
        (folder / "ready").touch()
    return python


def run(python: str, *arguments: str) -> None:
    done = subprocess.run([python, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    with new_executor(2) as executor:
        found: dict[str, Any] = json.loads(json.dumps(verdicts(executor, samples())))
    return found


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != HERE])
def test_other_python_gives_same_verdicts_and_lines(version, expected, tmp_path):
    run(environment(version), "-m", "tests.fixed_verdicts", str(tmp_path / "verdicts.json"))

    found = json.loads((tmp_path / "verdicts.json").read_text(encoding="utf-8"))
    assert differences(expected, found) == {}


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != HERE])
def test_parsing_and_hostile_programs_pass_on_other_python(version):
    shared, own = (
        "test_program_is_judged_right_and_leaves_nothing",
        "test_program_on_a_worker_of_its_own_is_judged_right_and_leaves_nothing",
    )
    cases = [
        f"tests/adversarial/test_corpus.py::{own if case.requirements.needs_own_worker else shared}[{case.name}]"
        for case in HOSTILE
    ]
    run(environment(version), "-m", "pytest", "-q", "-p", "no:cacheprovider", *QUICK, *cases)


@pytest.mark.long
@pytest.mark.parametrize("version", [version for version in VERSIONS if version != HERE])
def test_torch_free_tests_pass_on_other_python(version):
    python = environment(version, *TOKENIZERS, *SERVICE)

    run(python, "-c", "import importlib.util; assert importlib.util.find_spec('torch') is None")
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS)
