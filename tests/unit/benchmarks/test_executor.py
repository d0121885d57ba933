"""The lower limit of the executor's CPU time, and its share."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import executor


ROWS = [
    {
        "task_id": f"HumanEval/{number}",
        "prompt": "def add(a, b):\n",
        "canonical_solution": "    return a + b\n",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
        "entry_point": "add",
    }
    for number in range(3)
]


@pytest.mark.skipif(sys.platform != "linux", reason="servers run one job on other systems")
def test_limit_is_measured_and_nothing_is_left(tmp_path, monkeypatch):
    data = tmp_path / "humaneval.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    monkeypatch.setattr(executor, "DATA", data)
    monkeypatch.setattr(executor, "SITE", tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ways = {way: executor.Way("humaneval", way, len(ROWS), 0.0) for way in ("stepcoder", "limit")}
    for way in ways.values():
        way.run()

    measured = {name: way.close() for name, way in ways.items()}

    assert measured["stepcoder"]["passed"] == len(ROWS)
    limit = measured["limit"]
    assert limit["fork_ms"] > 0
    assert limit["limit_ms"] == limit["fork_ms"] + limit["traced_ms"]
    assert not list(tmp_path.glob("stepcoder-*"))


def test_costs_state_the_share_of_the_limit():
    ours = {"cpu_ms": 5.0, "self_ms": 1.0, "living_ms": 1.0, "ended_ms": 3.0}
    limit = {"fork_ms": 1.0, "traced_ms": 1.5, "layers_ms": 0.5, "limit_ms": 2.5}

    costs = executor.cpu_costs({"ways": {"stepcoder": ours, "limit": limit}})

    assert costs["share of the limit"] == 0.5
    assert costs["supervision, streams, reports, copied pages"] == 1.0
