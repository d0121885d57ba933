"""Rollouts, the curriculum's way and results in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stepcoder_trl.reports.html import END_MARK, LEGEND, rollout_facts
from stepcoder_trl.reports.rollouts import RolloutView, TokenKind, visible


T = TypeVar("T")

STYLES = {
    TokenKind.PREFIX: "dim",
    TokenKind.KEPT: "green",
    TokenKind.MASKED: "red strike",
    TokenKind.OUTSIDE: "blue underline",
}


@dataclass(frozen=True)
class StageCount:
    """
    Where the problems of the training set stood at one time.

    Attributes:
        update (`int`): Updates done.
        problems (`Mapping[int, int]`): Number of problems at each stage; 0 is scratch.
        pass_rate (`float`): Share of the completions of the last update that passed.
    """

    update: int
    problems: Mapping[int, int]
    pass_rate: float


def rollouts_text(rollouts: Sequence[RolloutView]) -> RenderableType:
    """
    Completions with every token in the colour of its part in the policy loss.

    Args:
        rollouts (`Sequence[RolloutView]`):
            Completions, in their order.

    Returns:
        `rich.console.RenderableType`: Legend and one panel per completion. Nothing in a program is taken for markup or
        reaches the terminal as a control character.
    """
    legend = Text("   ").join(Text(text, style=STYLES[kind]) for kind, text in LEGEND.items())
    return Group(legend, *map(_panel, rollouts))


def _panel(rollout: RolloutView) -> Panel:
    code = Text().append(visible(rollout.prefix), style=STYLES[TokenKind.PREFIX]).append(_completion(rollout))
    facts = Text.assemble(_outcome(rollout), " · " + " · ".join(rollout_facts(rollout)))
    prompt = [Text(visible(rollout.prompt), style="dim")] if rollout.prompt else []
    title = Text(visible(rollout.task_id))
    return Panel(Group(facts, *prompt, code), title=title, title_align="left")


def _completion(rollout: RolloutView) -> Text:
    """Tokens in the colours of their parts."""
    text = Text()
    for token, kind in rollout.kinds():
        text.append(visible(token or END_MARK), style=STYLES[kind])
    return text


def _outcome(rollout: RolloutView) -> Text:
    outcome = rollout.outcome or "not run"
    return Text(visible(outcome), style="bold green" if outcome == "passed" else "bold red")


def rollouts_table(rollouts: Sequence[RolloutView], title: str, most_lines: int = 20) -> Table:
    """
    Completions as a table: result, prompt, prefix and completion.

    Args:
        rollouts (`Sequence[RolloutView]`):
            Completions, one row each.
        title (`str`):
            Title.
        most_lines (`int`, *optional*, defaults to `20`):
            Lines of a text that are shown: of a prompt and a completion the first, of a prefix the last.

    Returns:
        `rich.table.Table`: The result is problem, outcome, score, tests passed, stage and share of kept tokens, one
        below the other. The tokens of a completion have the colours of `rollouts_text`.
    """
    table = Table(title=Text(visible(title)), show_lines=True)
    for heading in ("result", "prompt", "prefix", "completion"):
        table.add_column(heading, overflow="fold", ratio=1 if heading == "result" else 2)
    for rollout in rollouts:
        prompt = list(Text(visible(rollout.prompt)).split("\n", allow_blank=True))
        prefix = list(Text(visible(rollout.prefix), style=STYLES[TokenKind.PREFIX]).split("\n", allow_blank=True))
        completion = list(_completion(rollout).split("\n", allow_blank=True))
        table.add_row(
            _result(rollout),
            _joined([*prompt[:most_lines], *_ellipsis(prompt, most_lines)]),
            _joined([*_ellipsis(prefix, most_lines), *prefix[-most_lines:]]),
            _joined([*completion[:most_lines], *_ellipsis(completion, most_lines)]),
        )
    return table


def _result(rollout: RolloutView) -> Text:
    kept = f"{1 - rollout.masked_share:.0%} of tokens kept"
    facts = [Text(fact) for fact in (*rollout_facts(rollout)[:-1], kept)]
    return _joined([Text(visible(rollout.task_id), style="bold"), _outcome(rollout), *facts])


def _joined(lines: Sequence[Text]) -> Text:
    return Text("\n").join(lines)


def _ellipsis(lines: Sequence[Text], most: int) -> list[Text]:
    left = len(lines) - most
    return [Text(f"({left} more lines)", style="italic")] if left > 0 else []


def stage_table(counts: Sequence[StageCount], most_rows: int = 10) -> Table:
    """
    Curriculum over time: how many problems stood at which stage.

    Args:
        counts (`Sequence[StageCount]`):
            Counts, oldest first.
        most_rows (`int`, *optional*, defaults to `10`):
            Rows to show, evenly spaced, the first and the last among them.

    Returns:
        `rich.table.Table`: One row per time, one column per stage from the first one of training to scratch.
    """
    stages = sorted({0, *(stage for count in counts for stage in count.problems)}, reverse=True)
    table = Table(title="Curriculum: problems at each stage")
    for heading in ("update", *(f"stage {stage}" if stage else "scratch" for stage in stages), "passing"):
        table.add_column(heading, justify="right")
    for count in evenly_spaced(counts, most_rows):
        numbers = (str(count.problems.get(stage, 0)) for stage in stages)
        table.add_row(str(count.update), *numbers, f"{count.pass_rate:.0%}")
    return table


def evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """At most `most` items, at least 1, at even distances; of several the first and the last are among them."""
    if len(items) <= most:
        return list(items)
    if most < 2:
        return list(items[:1])
    last = len(items) - 1
    return [items[round(number * last / (most - 1))] for number in range(most)]


def before_after_table(before: Mapping[str, float], after: Mapping[str, float], title: str) -> Table:
    """
    Rates before and after.

    Args:
        before (`Mapping[str, float]`):
            Rate of each set of problems, in [0, 1].
        after (`Mapping[str, float]`):
            Rate of the same sets later.
        title (`str`):
            Title.

    Returns:
        `rich.table.Table`: One row per set.
    """
    table = Table(title=title)
    for heading in ("problems", "before", "after", "change"):
        table.add_column(heading, justify="left" if heading == "problems" else "right")
    for name, rate in before.items():
        table.add_row(name, f"{rate:.3f}", f"{after[name]:.3f}", f"{after[name] - rate:+.3f}")
    return table


def completions_table(completions: Sequence[tuple[str, str, float]]) -> Table:
    """
    Completions with their scores.

    Args:
        completions (`Sequence[tuple[str, str, float]]`):
            Query, completion, and the score of a reward model.

    Returns:
        `rich.table.Table`: One row per completion.
    """
    table = Table(show_lines=True)
    for title in ("query", "model response", "score"):
        table.add_column(title)
    for query, completion, score in completions:
        table.add_row(Text(visible(query)), Text(visible(completion)), f"{score:.4f}")
    return table
