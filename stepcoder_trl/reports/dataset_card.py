"""Write the dataset card of a refined dataset, with the Hub's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepcoder_trl.data.refine_rules import RULES


def dataset_card(summary: Mapping[str, Any], settings: Mapping[str, Any], source: str) -> str:
    """Write a dataset card of the figures and settings of a refinement."""
    rules = "\n".join(f"| {_row(name, count)} |" for name, count in summary["rules"].items())
    difficulty = "\n".join(f"| {name} | {count} |" for name, count in summary["difficulty"].items())
    chosen = "\n".join(f"- `{name}`: {value}" for name, value in settings.items())
    return f"""---
task_categories:
- text-generation
language:
- en
tags:
- code
- unit-tests
- stepcoder
size_categories:
- {_size(summary["kept"])}
configs:
- config_name: default
  data_files: problems.parquet
---

# {source}, refined

{summary["kept"]} of {summary["rows"]} rows of `{source}`, refined by running every solution as described in section
4.1 of StepCoder ([arXiv:2402.01391](https://arxiv.org/abs/2402.01391)). Every canonical solution passes its tests. The
licence is that of the source.

Columns: `task_id`, `prompt`, `starter_code`, `canonical_solution` (a complete program), `tests` (JSON text),
`difficulty`.

```python
from stepcoder_trl import load_problems

problems = load_problems("problems.parquet")
```

| difficulty | rows |
|---|---|
{difficulty}

| action | rule | meaning | rows |
|---|---|---|---|
{rules}

`log.jsonl` has one line per row and rule. Settings:

{chosen}
"""


def _row(name: str, count: int) -> str:
    action, _, rule = name.partition("/")
    return f"{action} | `{rule}` | {RULES[rule]} | {count}"


def _size(rows: int) -> str:
    """Return the Hub's size category for a number of rows."""
    bounds = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")]
    return next((name for bound, name in bounds if rows < bound), "100K<n<1M")
