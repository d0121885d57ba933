"""
Plugin of pytest that writes down with which versions the tests have passed.

    python -m pytest -p tests.versions.record --versions-as lowest TESTS

writes a row into docs/results/versions/versions.json and the table beside it. A run with a failure writes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl.versions import versions


FOLDER = Path(__file__).parents[2] / "docs" / "results" / "versions"
COLUMNS = ("python", "torch", "transformers", "trl", "accelerate", "peft", "datasets", "coverage")
Rows = Mapping[str, Mapping[str, Any]]


def table(rows: Rows) -> str:
    """Return the page with one line per environment."""
    heading = ("environment", *COLUMNS, "tests passed", "on")
    lines = [
        (name, *(row["versions"].get(column, "") for column in COLUMNS), str(row["passed"]), row["date"])
        for name, row in sorted(rows.items())
    ]
    cells = "\n".join(f"| {' | '.join(line)} |" for line in (heading, ("---",) * len(heading), *lines))
    return (
        "# Versions that the tests pass with\n\n"
        "`make test-lowest` and `make test-newest` write this page. A run with a failure writes nothing.\n\n"
        f"{cells}\n"
    )


def add(folder: Path, name: str, row: Mapping[str, Any]) -> None:
    """Add the row of an environment, in the place of its older one, and write the page again."""
    file = folder / "versions.json"
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    rows[name] = row
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(table(rows), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--versions-as", required=True, help="Name of this environment in the table of versions.")


class Record:
    """Counts the tests that pass."""

    def __init__(self, name: str) -> None:
        self.name, self.passed = name, 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK:
            found = versions("pytest")
            row = {"versions": found, "passed": self.passed, "date": time.strftime("%Y-%m-%d")}
            add(FOLDER, self.name, row)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Record(config.getoption("--versions-as")))
