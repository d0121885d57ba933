"""Page of a run: summary, learning curves, stages, outcomes, groups and rollouts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_trl.curriculum.measured import (
    SUMMARY_HEADER,
    StageRate,
    by_problem,
    summarize_stages,
    summary_cells,
)
from stepcoder_trl.reports.html import rollout_html, rollouts_section
from stepcoder_trl.reports.page import details, document, facts, table, text
from stepcoder_trl.reports.rollouts import RolloutView, evenly_spaced
from stepcoder_trl.reports.run_facts import METHODS, PASS_AT, RunFacts, changed_settings
from stepcoder_trl.reports.run_history import PANELS, curve_of
from stepcoder_trl.reports.run_record import MOST_ROLLOUTS, MOST_UPDATES, RunRecord
from stepcoder_trl.reports.svg import Chart, Points, area_chart, line_chart, short
from stepcoder_trl.types import Outcome


MOST_ROLLOUTS_SHOWN = 200
MOST_CHARACTERS = 3_000_000  # of the HTML of all rollouts
_MOST_STAGES, _MOST_SETTINGS = 6, 12  # shown as they are
_GROUPS = {
    "all": "every program passed",
    "some": "some programs passed",
    "none": "no program passed",
}
_GROUP_COLORS = {_GROUPS["all"]: "f-passed", _GROUPS["some"]: "f0", _GROUPS["none"]: "f-compile_error"}


def run_page(run: RunFacts, record: RunRecord, measurement: Sequence[StageRate] = ()) -> str:
    """
    Render a run as one HTML page that asks nothing of the network.

    `measurement` has the samples of the stages that were measured before the first update.
    Rollouts are those of the record, at most 200 of them and 3 million characters of HTML. If there are more, evenly
    spaced ones are shown, and the page says so.
    """
    sections = {
        "Summary": _summary(run),
        "Learning curves": _curves(run.history),
        "Stages": _stages(run.history, record) + _measurement(measurement),
        "Outcomes": _outcomes(run.history),
        "Groups": _groups(run.history, record),
        "Rollouts": _rollouts(record),
    }
    sections = {title: body for title, body in sections.items() if body}
    links = "".join(f'<a href="#{_anchor(title)}">{title}</a>' for title in sections)
    parts = (f'<section id="{_anchor(title)}"><h2>{title}</h2>\n{body}</section>' for title, body in sections.items())
    head = f'<h1>{text(run.model_name)}</h1>\n<p class="soft">{text(_subtitle(run))}</p>\n<nav>{links}</nav>'
    return document(f"Run {run.model_name}", "\n".join([head, *parts]), filters=bool(record.rollouts))


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _subtitle(run: RunFacts) -> str:
    state = "finished" if run.update >= run.num_updates else "not finished"
    return f"{METHODS.get(run.method, run.method)}, {run.update} of {run.num_updates} updates, {state}"


def _summary(run: RunFacts) -> str:
    rewards = ", ".join(f"{name} x {short(weight)}" if weight != 1 else name for name, weight in run.rewards)
    pairs = {
        "Method": METHODS.get(run.method, run.method),
        "Base model": f"{run.base_model or 'not named'}{', LoRA adapter' if run.adapter else ''}",
        "Problems": f"{run.num_problems:,}" + (f" ({run.training_data})" if run.training_data else ""),
        "Updates": f"{run.update:,} of {run.num_updates:,}",
        "Completions": f"{run.episodes:,}" if run.episodes else "",
        "Processes": str(run.num_processes),
        "Reward": rewards,
        "Programs run by": run.backend or "",
        "Versions": ", ".join(f"{name} {version}" for name, version in run.versions.items()),
    }
    parts = [facts((name, value) for name, value in pairs.items() if value), "<h3>Evaluation</h3>", _evaluation(run)]
    changed = [(name, _value(value), _value(default)) for name, value, default in changed_settings(run)]
    if changed:
        title = f"Settings that differ from their defaults: {len(changed)}"
        parts.append(details(title, table(["setting", "value", "default"], changed), len(changed) <= _MOST_SETTINGS))
    return "\n".join(parts)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _evaluation(run: RunFacts) -> str:
    if not run.pass_rates:
        return "<p>The final weights were not evaluated.</p>"
    rows = [(rate.data, f"pass@{rate.k}", f"{rate.value:.4f}", rate.sampling) for rate in run.pass_rates]
    return table(["problems", "figure", "value", "sampling"], rows)


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
    evaluated = {name: curve_of(history, (name,)) for entry in history for name in entry if PASS_AT.fullmatch(name)}
    named = {name.removeprefix("eval_"): points for name, points in evaluated.items()}
    charts = [line_chart(Chart("Evaluation from scratch", "share of problems", named, is_share=True))]
    charts += [
        line_chart(Chart(panel.title, panel.unit, {panel.title: curve_of(history, panel.metrics)}, panel.is_share))
        for panel in PANELS
        if not any(name in evaluated for name in panel.metrics)
    ]
    shown = [chart for chart in charts if chart]
    return _charts(shown) + _figures(history) if shown else "<p>Nothing was logged.</p>"


def _charts(charts: Sequence[str]) -> str:
    return f'<div class="charts">{"".join(charts)}</div>'


def _figures(history: Sequence[Mapping[str, Any]]) -> str:
    """Return the curves as a table, for readers of numbers."""
    curves = {panel.title: dict(curve_of(history, panel.metrics)) for panel in PANELS}
    curves = {title: points for title, points in curves.items() if points}
    updates = sorted({update for points in curves.values() for update in points})
    rows = [
        [short(update), *(short(points[update]) if update in points else "" for points in curves.values())]
        for update in evenly_spaced(updates, 12)
    ]
    return details("The same in numbers", table(["update", *curves], rows, numbers=True))


def _stages(history: Sequence[Mapping[str, Any]], record: RunRecord) -> str:
    found = sorted({stage for one in record.updates for stage in one.stages})
    charts = []
    if found:
        lines: dict[str, list[tuple[float, float]]] = {}
        for stage in range(min(max(found), _MOST_STAGES) + 1):
            name = "from scratch" if stage == 0 else f"stage {stage}" + (" and more" if stage == _MOST_STAGES else "")
            lines[name] = [(one.update, _at_stage(one.stages, stage)) for one in record.updates]
        note = "A stage counts the part of the solution that is still given. Stage 0 is from scratch."
        colors = {name: f"f{number}" for number, name in enumerate(lines)}
        charts.append(area_chart(Chart("Problems at each stage", "problems", lines, note=note), colors))
    means = {"mean stage": curve_of(history, ("curriculum/mean_stage",))}
    charts.append(line_chart(Chart("Mean stage", "stage", means, note="0 is from scratch.")))
    shown = [chart for chart in charts if chart]
    return _charts(shown) if shown else ""


def _measurement(rates: Sequence[StageRate]) -> str:
    """Return a table of the problems by stage and pass rate, as they were measured before the first update."""
    summaries = summarize_stages(rates)
    if not summaries:
        return ""
    note = (
        f"Problems by stage and by the pass rate of their samples there, before the first update: "
        f"{len(by_problem(rates)):,} problems, {sum(one.scored for one in rates):,} samples. A problem starts where "
        "its rate is nearest to one half. Scratch is stage 0."
    )
    shown = table(SUMMARY_HEADER, map(summary_cells, summaries), numbers=True)
    return f'<h3>Measured before training</h3>\n<p class="soft">{text(note)}</p>\n{shown}'


def _at_stage(stages: Mapping[int, int], stage: int) -> int:
    """Return the number of problems at a stage. The last one holds all that are higher."""
    return sum(n for one, n in stages.items() if one == stage or (stage == _MOST_STAGES and one > stage))


def _outcomes(history: Sequence[Mapping[str, Any]]) -> str:
    entries = [entry for entry in history if isinstance(entry.get("executor/passed"), (int, float))]
    lines: dict[str, Points] = {
        outcome.value: [(entry["step"], entry.get(f"executor/{outcome}", 0.0)) for entry in entries]
        for outcome in Outcome
    }
    colors = {outcome.value: f"f-{outcome}" for outcome in Outcome}
    chart = area_chart(Chart("Outcomes of programs in training", "share of programs", lines, is_share=True), colors)
    return _charts([chart]) if chart else ""


def _groups(history: Sequence[Mapping[str, Any]], record: RunRecord) -> str:
    counted = [(one.update, one.groups, sum(one.groups.values())) for one in record.updates]
    lines = {
        name: [(update, groups.get(key, 0) / total) for update, groups, total in counted if total]
        for key, name in _GROUPS.items()
    }
    note = "A group is the completions of one problem. It tells most where some pass and some do not."
    charts = [
        area_chart(Chart("Groups by result", "share of groups", lines, is_share=True, note=note), _GROUP_COLORS),
        line_chart(
            Chart(
                "Groups whose completions all have one score",
                "share of groups",
                {"one score": curve_of(history, ("groups/no_spread",))},
                is_share=True,
            )
        ),
    ]
    shown = [chart for chart in charts if chart]
    return _charts(shown) if shown else ""


def _rollouts(record: RunRecord) -> str:
    if not record.rollouts:
        return ""
    chosen = _fitting(sorted(record.rollouts, key=lambda rollout: -rollout[0]))
    note = (
        f"{len(chosen)} of {len(record.rollouts)} recorded completions, newest update first. Training records up to "
        f"{MOST_UPDATES} evenly spaced updates, and of each up to {MOST_ROLLOUTS} completions of the first process: "
        "one of each outcome, the others evenly spaced."
    )
    return f'<p class="soft">{text(note)}</p>\n{rollouts_section(chosen)}'


def _fitting(rollouts: Sequence[tuple[int, RolloutView]]) -> list[tuple[int, RolloutView]]:
    """Return evenly spaced rollouts that fit on the page."""
    sizes = {id(view): len(rollout_html(view, update)) for update, view in rollouts}
    number = min(len(rollouts), MOST_ROLLOUTS_SHOWN)
    while True:
        chosen = evenly_spaced(rollouts, number)
        size = sum(sizes[id(view)] for _, view in chosen)
        if size <= MOST_CHARACTERS or number <= 1:
            return chosen
        number = max(1, int(number * min(0.95, MOST_CHARACTERS / size)))
