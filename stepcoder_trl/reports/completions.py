"""Write completions to parquet files, tracker tables and Markdown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_trl.jsonl import temporary_path
from stepcoder_trl.reports.rollouts import RolloutView, visible


def completion_columns(rollouts: Sequence[RolloutView], update: int) -> dict[str, list[Any]]:
    """Convert completions to table columns. Lone surrogates are escaped, because UTF-8 cannot encode them."""
    return {
        "update": [update] * len(rollouts),
        "task_id": [_utf8(one.task_id) for one in rollouts],
        "prompt": [_utf8(one.prompt) for one in rollouts],
        "prefix": [_utf8(one.prefix) for one in rollouts],
        "completion": [_utf8(one.text) for one in rollouts],
        "outcome": [one.outcome for one in rollouts],
        "tests_passed": [one.tests_passed for one in rollouts],
        "tests_total": [one.tests_total for one in rollouts],
        "stage": [one.stage for one in rollouts],
        "kept_share": [1 - one.masked_share for one in rollouts],
        "score": [one.score for one in rollouts],
    }


def _cells(values: Sequence[Any]) -> list[Any]:
    """Return values as numbers if all are, else as text. `None` stays."""
    if all(value is None or isinstance(value, (int, float)) for value in values):
        return list(values)
    return [None if value is None else _utf8(str(value)) for value in values]


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_completions(
    rollouts: Sequence[RolloutView],
    update: int,
    folder: str | os.PathLike[str],
    extra: Mapping[str, Sequence[Any]] | None = None,
) -> Path:
    """
    Write completions to `completions_UPDATE.parquet` in a folder, which is made if missing. Return the path.

    `extra` columns have one value per completion. Values that are no numbers are written as text.
    """
    import pyarrow as pa
    import pyarrow.parquet

    # These columns may hold only nulls, from which pyarrow cannot infer a type.
    types = {"stage": pa.int64(), "outcome": pa.string(), "score": pa.float64()}
    columns = {name: _cells(values) for name, values in (extra or {}).items()} | completion_columns(rollouts, update)
    table = pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})
    path = Path(folder) / f"completions_{update:05d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)
    return path


def completions_markdown(rollouts: Sequence[RolloutView]) -> str:
    """Convert completions to Markdown. Programs are indented, so that no program can close its own code block."""
    return "\n\n".join(map(_section, rollouts))


def _section(rollout: RolloutView) -> str:
    score = "no score" if rollout.score is None else f"score {rollout.score:+g}"
    facts = f"{rollout.outcome or 'not run'}, {rollout.tests_passed} of {rollout.tests_total} tests, {score}"
    texts = {"Prompt": rollout.prompt, "Prefix": rollout.prefix, "Completion": rollout.text}
    blocks = [f"**{name}**\n\n{_indented(text)}" for name, text in texts.items() if text]
    return "\n\n".join([_indented(f"{rollout.task_id}: {facts}"), *blocks, "---"])


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in visible(text).split("\n"))
