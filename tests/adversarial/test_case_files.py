"""Run the programs of files that lie beside the folder `STEPCODER_DATA`: one row per program."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.selftest import Case
from stepcoder_trl.executor.selftest.bait import bait
from stepcoder_trl.executor.selftest.checks import check_alone
from stepcoder_trl.executor.selftest.corpus import Requirements
from stepcoder_trl.parsing import line_spans
from tests.processes import ON_LINUX


pytestmark = [pytest.mark.sandbox, ON_LINUX]

FILES = ("hostile.jsonl", "wrongly_punished.jsonl", "programs.jsonl")
MEASURES = {"trainer_mib": "trainer", "server_mib": "servers", "shmem_mib": "shared_memory", "disk_mib": "disk"}
# Checked for every program: messages, fork servers that have ended, files that are left.
ALWAYS = {"message", "servers", "scratch_empty"}


def case_of(row: dict[str, Any]) -> Case:
    """Return the case that a row describes. It passes if the row does not say which outcomes are right."""
    require, expected = row.get("require", {}), row.get("expected", {})
    assert set(require) <= ALWAYS | set(MEASURES) | {"ran", "not_run", "message_not", "rate"}, require
    runs, highest_rate = require.get("rate", (1, 0.0))
    ran = frozenset(require.get("ran", expected.get("executed_lines", ())))
    others = set(range(1, len(line_spans(row["program"])) + 1)) - ran if "executed_lines" in expected else ()
    requirements = Requirements(
        first=tuple(case_of(other) for other in row.get("first", ())),
        then=tuple(case_of(other) for other in row.get("then", ())),
        config=row.get("config", {}),
        growth_mib={MEASURES[key]: limit for key, limit in require.items() if key in MEASURES},
        runs=runs,
        highest_rate=highest_rate,
        message_not=require.get("message_not", ""),
        ran=ran,
        not_run=frozenset(require.get("not_run", others)),
    )
    allowed = frozenset(row.get("allow", [expected.get("outcome", "passed")]))
    return Case("row", row.get("id", "companion"), row["program"], row["tests"], allowed, "", requirements)


def rows() -> list[Any]:
    """Return the rows of all files, or one that is skipped."""
    folder = Path(os.environ.get("STEPCODER_DATA", "")).parent / "cases" / "turn2"
    if "STEPCODER_DATA" not in os.environ or not folder.is_dir():
        reason = "there is no folder cases/turn2 beside the folder that STEPCODER_DATA names"
        return [pytest.param({}, marks=pytest.mark.skip(reason=reason))]
    found = [json.loads(line) for name in FILES for line in (folder / name).read_text().splitlines()]
    return [pytest.param(row, id=row["id"]) for row in found if "program" in row]


@pytest.fixture(scope="module")
def scratch_root() -> Iterator[Path]:
    """Folder that holds the scratch folders of this module's executors, beside objects that no program may touch."""
    with bait() as made, pytest.MonkeyPatch.context() as patch:
        with tempfile.TemporaryDirectory(prefix="cases-") as folder:
            patch.setattr(tempfile, "tempdir", folder)
            yield Path(folder)
        assert list(made.touched()) == []


@pytest.mark.parametrize("row", rows())
def test_row_is_judged_right(row, scratch_root):
    with CodeExecutor(ExecutorConfig(num_workers=1)) as settings:
        assert check_alone(case_of(row), settings, scratch_root) == []

    assert list(scratch_root.iterdir()) == []
