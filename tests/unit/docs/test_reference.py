"""Tables and help texts that the documentation takes from the source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.hooks.reference import PARTS, verbs
from stepcoder_trl import StepCoderGRPOConfig, StepCoderPPOConfig
from stepcoder_trl.cli.main import VERBS
from stepcoder_trl.trainer.metric_table import Metric, metrics_table
from stepcoder_trl.trainer.shared_options import SharedOptions
from stepcoder_trl.trainer.vllm_options import VLLMOptions


DOCS = Path(__file__).parents[3] / "docs"


def first_cells(table: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ppo_options", StepCoderPPOConfig.__annotations__),
        ("grpo_options", StepCoderGRPOConfig.__annotations__),
        ("shared_options", SharedOptions.__dataclass_fields__),
        ("vllm_options", VLLMOptions.__annotations__),
    ],
)
def test_table_has_every_option(name, options):
    assert first_cells(PARTS[name]()) == list(options)


@pytest.mark.parametrize("name", ["ppo_metrics", "grpo_metrics", "evaluation_metrics"])
def test_metrics_are_listed_once_and_explained(name):
    rows = PARTS[name]().splitlines()[2:]
    names = [row.split(" | ")[0] for row in rows]

    assert len(set(names)) == len(names)
    assert all(len(row.split(" | ")[1]) > 4 for row in rows)


def test_table_of_metrics_marks_sums_and_last_values():
    metrics = [Metric("a", "A mean", "tokens"), Metric("b", "A sum", "sum"), Metric("c", "The last", "last")]

    table = metrics_table(metrics)

    assert table.splitlines()[2:] == [
        "| `a` | A mean | tokens |",
        "| `b` | A sum | *sum* |",
        "| `c` | The last | *last* |",
    ]


def test_help_of_every_verb_is_a_section_with_an_example():
    text = verbs()

    sections = dict(re.findall(r"^## (\w+)\n\n.*\n\n```text\n((?:(?!```).*\n)+)```", text, re.MULTILINE))
    assert list(sections) == list(VERBS)
    for verb, help_text in sections.items():
        assert f"usage: stepcoder-trl {verb}" in help_text
        assert re.search(r"^examples?:$", help_text, re.MULTILINE), verb


def test_pages_name_only_parts_that_exist_and_use_each_once():
    named = [
        name
        for page in DOCS.rglob("*.md")
        for name in re.findall(r"^\*Made by `make docs`: (\w+)\*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]

    assert sorted(named) == sorted(PARTS)
