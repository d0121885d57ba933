"""Show rollouts, curriculum stages and results in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stepcoder_trl.reports.html import LEGEND, rollout_facts
from stepcoder_trl.reports.rollouts import END_MARK, RolloutView, TokenKind, evenly_spaced, visible


STYLES = {
    TokenKind.PREFIX: "dim",
    TokenKind.KEPT: "green",
    TokenKind.MASKED: "red strike",
    TokenKind.OUTSIDE: "blue underline",
}


@dataclass(frozen=True)
class StageCount:
    """Number of problems at each curriculum stage after an update."""

    update: int  # number of updates done
    problems: Mapping[int, int]  # number of problems by stage; 0 is scratch
    pass_rate: float  # share of the last update's completions that passed


def rollouts_text(rollouts: Sequence[RolloutView]) -> RenderableType:
    """
    Render completions for the terminal. Each token is coloured by its [`TokenKind`].

    Markup and control characters in programs are shown as plain text.
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
    """Return the tokens, coloured by kind."""
    text = Text()
    for token, kind in rollout.kinds():
        text.append(visible(token or END_MARK), style=STYLES[kind])
    return text


def _outcome(rollout: RolloutView) -> Text:
    outcome = rollout.outcome or "not run"
    return Text(visible(outcome), style="bold green" if outcome == "passed" else "bold red")


def rollouts_table(rollouts: Sequence[RolloutView], title: str, max_lines: int = 20) -> Table:
    """
    Return completions as a table with the columns result, prompt, prefix and completion.

    The result lists problem, outcome, score, tests passed, stage and share of kept tokens. Of a text with more than
    `max_lines` lines, the first ones are shown, of a prefix the last ones.
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
            _joined([*prompt[:max_lines], *_ellipsis(prompt, max_lines)]),
            _joined([*_ellipsis(prefix, max_lines), *prefix[-max_lines:]]),
            _joined([*completion[:max_lines], *_ellipsis(completion, max_lines)]),
        )
    return table


def _result(rollout: RolloutView) -> Text:
    kept = f"{1 - rollout.masked_share:.0%} of tokens kept"
    facts = [Text(fact) for fact in (*rollout_facts(rollout)[:-1], kept)]
    return _joined([Text(visible(rollout.task_id), style="bold"), _outcome(rollout), *facts])


def _joined(lines: Sequence[Text]) -> Text:
    return Text("\n").join(lines)


def _ellipsis(lines: Sequence[Text], max_lines: int) -> list[Text]:
    hidden = len(lines) - max_lines
    return [Text(f"({hidden} more lines)", style="italic")] if hidden > 0 else []


def stage_table(counts: Sequence[StageCount]) -> Table:
    """Return a table of the number of problems at each curriculum stage, from the highest to scratch, over time."""
    stages = sorted({0, *(stage for count in counts for stage in count.problems)}, reverse=True)
    table = Table(title="Curriculum: problems at each stage")
    for heading in ("update", *(f"stage {stage}" if stage else "scratch" for stage in stages), "passing"):
        table.add_column(heading, justify="right")
    for count in evenly_spaced(counts, 10):
        numbers = (str(count.problems.get(stage, 0)) for stage in stages)
        table.add_row(str(count.update), *numbers, f"{count.pass_rate:.0%}")
    return table


def before_after_table(before: Mapping[str, float], after: Mapping[str, float], title: str) -> Table:
    """Return a table of pass rates, in [0, 1], before and after training. It has one row per set of problems."""
    table = Table(title=title)
    for heading in ("problems", "before", "after", "change"):
        table.add_column(heading, justify="left" if heading == "problems" else "right")
    for name, rate in before.items():
        table.add_row(name, f"{rate:.3f}", f"{after[name]:.3f}", f"{after[name] - rate:+.3f}")
    return table


def completions_table(completions: Sequence[tuple[str, str, float]]) -> Table:
    """Return a table of queries, completions and their reward model scores."""
    table = Table(show_lines=True)
    for title in ("query", "model response", "score"):
        table.add_column(title)
    for query, completion, score in completions:
        table.add_row(Text(visible(query)), Text(visible(completion)), f"{score:.4f}")
    return table
