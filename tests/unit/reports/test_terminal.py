"""Test reports in a terminal."""

import io

import pytest
from rich.console import Console

from stepcoder_trl.reports.rollouts import evenly_spaced
from stepcoder_trl.reports.terminal import (
    StageCount,
    before_after_table,
    completions_table,
    rollouts_table,
    rollouts_text,
    stage_table,
)
from tests.unit.reports.test_html import view


def shown(renderable, *, color=False):
    console = Console(file=io.StringIO(), width=100, force_terminal=color, color_system="standard" if color else None)
    console.print(renderable)
    return console.file.getvalue()


def test_each_token_kind_has_its_style():
    text = shown(rollouts_text([view()]), color=True)

    assert "\x1b[9;31mpass" in text  # struck out, red
    assert "\x1b[32mreturn x + 1" in text  # green
    assert "\x1b[2mdef f(x):" in text  # dim


def test_rollouts_text_escapes_markup_and_control_characters():
    rollout = view(task_id="[bold]t", prompt="[red]p", tokens=("[blink]x[/blink]\x1b[2J\x07",), loss_mask=(True,))

    text = shown(rollouts_text([rollout]))

    assert r"[blink]x[/blink]\x1b[2J\x07" in text
    assert "[bold]t" in text
    assert "[red]p" in text
    assert "\x1b" not in text


def test_stage_table_columns_run_from_highest_stage_to_scratch():
    counts = [StageCount(0, {2: 3, 1: 1}, 0.0), StageCount(5, {1: 2, 0: 2}, 0.25)]

    lines = shown(stage_table(counts)).splitlines()

    heading = next(line for line in lines if "update" in line)
    assert heading.index("stage 2") < heading.index("stage 1") < heading.index("scratch")
    assert [word for word in lines[-2].replace("│", " ").split() if word] == ["5", "0", "2", "2", "25%"]


@pytest.mark.parametrize(("number", "expected"), [(3, [0, 1, 2]), (11, [0, 2, 5, 8, 10]), (5, [0, 1, 2, 3, 4])])
def test_evenly_spaced_includes_first_and_last(number, expected):
    counts = [StageCount(update, {}, 0.0) for update in range(number)]

    assert [count.update for count in evenly_spaced(counts, 5)] == expected


def test_before_after_table_shows_change():
    text = shown(before_after_table({"train": 0.1, "heldout": 0.05}, {"train": 0.4, "heldout": 0.03}, "pass@1"))

    assert "+0.300" in text
    assert "-0.020" in text


def test_completions_table_shows_scores():
    text = shown(completions_table([("def f(x):", "[red]return x\x1b[2J", 0.25)]))

    assert r"[red]return x\x1b[2J" in text
    assert "0.2500" in text


def test_rollouts_table_shows_results_and_shortens_texts():
    rollout = view(
        task_id="[bold]t",
        prompt="\n".join(f"p{n}" for n in range(30)),
        prefix="\n".join(f"x{n} = 0" for n in range(30)),
        tokens=("a\n" * 29, "a"),
        loss_mask=(True, False),
        outcome="failed",
    )

    text = shown(rollouts_table([rollout], "Update 1", max_lines=10))

    assert "[bold]t" in text
    assert "failed" in text
    assert "50% of tokens kept" in text
    assert text.count("(20 more lines)") == 3
    assert "p9" in text
    assert "p10" not in text
    assert "x29 = 0" in text
    assert "x19 = 0" not in text


def test_rollouts_table_escapes_markup_and_control_characters():
    rollout = view(prompt="[red]p", prefix="\x1b[2J", tokens=("[blink]x\x07",), loss_mask=(True,))

    text = shown(rollouts_table([rollout], "[bold]title"))

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[blink]x" in text
    assert "[red]p" in text
