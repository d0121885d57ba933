"""Show completions in HTML: which tokens were trained on, which lines ran, and which test failed."""

from __future__ import annotations

from collections.abc import Sequence

from stepcoder_trl.parsing import line_spans
from stepcoder_trl.reports.page import details, document, filter_form, text
from stepcoder_trl.reports.rollouts import CodeLine, FailingTest, RolloutView, TokenKind


LEGEND = {
    TokenKind.PREFIX: "given to the model",
    TokenKind.KEPT: "trained on",
    TokenKind.MASKED: "masked: not trained on",
    TokenKind.OUTSIDE: "trained on, not part of the program",
}
_LONGEST_PROMPT = 4000  # characters of a prompt that are shown
_NUM_OPEN = 3  # rollouts that are open when the page is loaded


def rollouts_page(rollouts: Sequence[RolloutView], title: str, updates: Sequence[int | None] | None = None) -> str:
    """
    Render completions as an HTML page, with menus that select by outcome, problem and, if they are given, update.

    Programs are untrusted: their text is escaped, and invisible characters are shown as escapes. The page asks nothing
    of the network, and is complete without JavaScript.
    """
    pairs = list(zip(updates or [None] * len(rollouts), rollouts, strict=True))
    body = f"<h1>{text(title)}</h1>\n{rollouts_section(pairs)}"
    return document(title, body, filters=bool(rollouts))


def rollouts_section(rollouts: Sequence[tuple[int | None, RolloutView]]) -> str:
    """Render completions, each with the number of its update or `None`: menus, legend and one part for each."""
    if not rollouts:
        return "<p>No rollouts.</p>"
    updates = [str(update) for update, _ in rollouts if update is not None]
    outcomes = sorted({outcome_of(one) for _, one in rollouts})
    menus = [
        ("update", "Update", list(dict.fromkeys(updates))),
        ("outcome", "Outcome", outcomes),
        ("task", "Problem", sorted({one.task_id for _, one in rollouts})),
    ]
    articles = [rollout_html(one, update, number < _NUM_OPEN) for number, (update, one) in enumerate(rollouts)]
    form = filter_form(menu for menu in menus if menu[2])
    return "\n".join([legend(), form, *articles])


def legend() -> str:
    """Return the legend of programs."""
    kinds = "".join(f'<span class="{kind}">{meaning}</span>' for kind, meaning in LEGEND.items())
    lines = '<span class="ran">line ran in a test</span><span class="idle">line never ran</span>'
    return f'<p class="legend">{kinds}{lines}</p>'


def rollout_html(rollout: RolloutView, update: int | None = None, is_open: bool = False) -> str:
    """Return a completion as a part that can be opened."""
    outcome = outcome_of(rollout)
    style = "passed" if outcome == "passed" else "not-passed"
    known = [] if update is None else [f"update {update}"]
    head = " · ".join(
        [f"<strong>{text(rollout.task_id)}</strong>", f'<strong class="{style}">{text(outcome)}</strong>']
        + [text(fact) for fact in (*known, *rollout_facts(rollout))]
    )
    data = {"update": "" if update is None else str(update), "outcome": outcome, "task": rollout.task_id}
    attributes = "".join(f' data-{name}="{text(value)}"' for name, value in data.items())
    parts = [_prompt(rollout.prompt, is_open), program_html(rollout.lines())]
    if rollout.failing_test is not None:
        parts.append(_failing_test(rollout.failing_test))
    if rollout.solution:
        parts.append(details("Reference solution", solution_html(rollout.solution)))
    body = "\n".join(part for part in parts if part)
    opened = " open" if is_open else ""
    return f'<details class="rollout"{attributes}{opened}><summary>{head}</summary>\n{body}\n</details>'


def outcome_of(rollout: RolloutView) -> str:
    """Return the outcome in words."""
    return rollout.outcome or "not run"


def rollout_facts(rollout: RolloutView) -> list[str]:
    """Return score, tests passed, stage and masked tokens of a rollout as short texts."""
    facts = [] if rollout.score is None else [f"score {rollout.score:+g}"]
    if rollout.tests_total:
        facts.append(f"{rollout.tests_passed} of {rollout.tests_total} tests passed")
    if rollout.stage is not None:
        facts.append("from scratch" if rollout.stage == 0 else f"stage {rollout.stage}")
    facts.append(f"{rollout.loss_mask.count(False)} of {len(rollout.loss_mask)} tokens masked")
    return facts


def _prompt(prompt: str, is_open: bool) -> str:
    if not prompt.strip():
        return ""
    shown = prompt if len(prompt) <= _LONGEST_PROMPT else f"{prompt[:_LONGEST_PROMPT]}... ({len(prompt)} characters)"
    short = is_open and prompt.count("\n") < 8 and len(prompt) < 600
    return details("Prompt", f'<pre class="wrap prompt">{text(shown)}</pre>', short)


def program_html(lines: Sequence[CodeLine]) -> str:
    """Return a program with line numbers, lines that ran and the kind of each token."""
    return f'<pre class="program">{"".join(map(_line, lines))}</pre>'


def _line(line: CodeLine) -> str:
    ran = {True: " ran", False: " idle", None: ""}[line.ran]
    number = "" if line.number is None else str(line.number)
    spans = "".join(f'<span class="{kind}">{text(part)}</span>' for part, kind in line.parts)
    return f'<span class="line{ran}" data-n="{number}">{spans}</span>'


def solution_html(solution: str) -> str:
    """Return a program with line numbers."""
    lines = [solution[start:end] for start, end in line_spans(solution)]
    numbered = (f'<span class="line" data-n="{number}">{text(line)}</span>' for number, line in enumerate(lines, 1))
    return f"<pre>{''.join(numbered)}</pre>"


def _failing_test(test: FailingTest) -> str:
    parts = {"Input": test.input, "Expected": test.expected, "What came": test.message or test.outcome}
    rows = "".join(
        f'<dt>{name}</dt><dd><pre class="wrap">{text(value)}</pre></dd>' for name, value in parts.items() if value
    )
    return f"<h3>Test {test.number}: {text(test.outcome)}</h3>\n<dl>{rows}</dl>"
