"""
Measure how often a run writes each concept right in each chain, and what it writes instead.

    python -m benchmarks.ablation.concepts --settings own_concepts --arms stepcoder

The runs of the grid are repeated, and their programs read. Every sampled line that is a condition or an update is
compared with the same line of the canonical solution. The results are written to `concepts.json` and `concepts.md`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.ablation.files import compute_once, read_reported, write_json
from benchmarks.ablation.material import prepare
from benchmarks.ablation.report import markdown_table
from benchmarks.ablation.run import StopAfter
from benchmarks.ablation.settings import ARMS, BY_PPO, OUT, OWN, SETTINGS, WORK, Job
from benchmarks.ablation.trainers import make_ppo_trainer
from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.quickstart.problems import CONDITIONS, UPDATES, Concept
from stepcoder_trl.trainer.records import Update


SEEDS = (0, 1, 2)
PHASE = 8  # updates per column of the table
CHAINS = ("first", "second", "third", "fourth")


@dataclass(frozen=True)
class Written:
    """Sampled line at the place of a concept."""

    chain: int  # of arms, from 0
    concept: Concept  # that the prompt asks for
    code: str  # of the program, without `if` and `elif`
    right: bool  # whether the code is the canonical solution's


def written_concepts(program: str, prompt: str, solution: str, first_line: int = 0) -> Iterator[Written]:
    """
    Compare a program with the canonical solution of style `"scalar"`, line by line from the first sampled line.

    Concepts with the same code ("is even", "is a multiple of 2") differ in the prompt.
    """
    lines = program.splitlines()
    asked = (one for clause in re.findall(r"^\d+\. (.*)\.$", prompt, re.MULTILINE) for one in _concepts_of(clause))
    chain = -1
    for number, line in enumerate(solution.splitlines()):
        chain += line.strip().startswith("if ")
        if chain < 0 or line.strip() == "else:" or line.strip().startswith("return "):
            continue
        concept = next(asked)
        if number >= first_line:
            code = _bare(lines[number]) if number < len(lines) else ""
            yield Written(chain, concept, code, code == _bare(line))


def _concepts_of(clause: str) -> Iterator[Concept]:
    """Yield the concepts of a clause of a description, in the order of the solution's lines."""
    for phrase in re.split("; otherwise if |; otherwise |^if |, ", clause):
        if phrase:
            yield next(concept for concept, pattern in _WORDS if pattern.fullmatch(phrase))


def concept_of(code: str) -> Concept | None:
    """Return the first concept with this code, or `None`. "Is even" and "is a multiple of 2" have the same code."""
    return next((concept for concept, pattern in _CODES if pattern.fullmatch(code)), None)


def _bare(line: str) -> str:
    """Return the condition or update in a line."""
    return re.sub(r"^(?:if|elif) (.*):$", r"\1", line.strip())


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\{x\}", "[a-z]").replace(r"\{n\}", r"\d+"))


_CONCEPTS = (*CONDITIONS, *UPDATES)
_WORDS = [(concept, _pattern(concept.words)) for concept in _CONCEPTS]
_CODES = [(concept, _pattern(concept.right)) for concept in _CONCEPTS]


def count_concepts(update: Update) -> Counter[Written]:
    """Count the lines that the completions of an update hold."""
    count: Counter[Written] = Counter()
    for completion in update.rollout.completions:
        program, row = completion.program, completion.start.row
        begin, end = program.span
        given = program.text[: len(program.text) - (end - begin)].rstrip().splitlines()
        count.update(written_concepts(program.text, str(row.prompt), row.canonical_solution, len(given)))
    return count


def trace(job: Job, work: Path) -> list[dict[str, Any]]:
    """
    Repeat a run of the grid and count its lines. Return one row per phase, chain and concept.

    `written` and `right` are numbers of lines. `instead` counts the other lines: by the words of the concept they
    write, else by their code.
    """
    material = prepare(job.setting, job.seed, work)
    counts: list[Counter[Written]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=1.0)) as executor,
    ):
        trainer = make_ppo_trainer(job, ARMS[job.arm], material, executor, folder)
        trainer.on_update = lambda update: counts.append(count_concepts(update))
        trainer.add_callback(StopAfter(job.setting.last_update))
        trainer.train()
    phases = range(0, len(counts), PHASE)
    return [row for begin in phases for row in _phase(counts[begin : begin + PHASE], begin)]


def _phase(counts: Sequence[Counter[Written]], begin: int) -> Iterator[dict[str, Any]]:
    total: Counter[Written] = sum(counts, Counter())
    for chain, concept in sorted({(line.chain, line.concept) for line in total}, key=str):
        here = {line: n for line, n in total.items() if (line.chain, line.concept) == (chain, concept)}
        instead: Counter[str] = Counter()
        for line, n in here.items():
            if not line.right:
                other = concept_of(line.code)
                # The same concept with another variable or constant is counted by its code.
                instead[line.code if other in (None, concept) else other.words] += n
        yield {
            "updates": [begin + 1, begin + len(counts)],
            "chain": chain,
            "concept": concept.words,
            "hard": concept.hard,
            "written": sum(here.values()),
            "right": sum(n for line, n in here.items() if line.right),
            "instead": dict(instead.most_common()),
        }


# Report


Found = dict[str, list[dict[str, Any]]]  # rows of `trace` by the name of the run


def table(found: Found) -> str:
    """Return the shares of right lines as Markdown, with one table per setting and arm over all seeds."""
    parts = []
    for name, group in itertools.groupby(sorted(found, key=_without_seed), key=_without_seed):
        seeds = list(group)
        rows = [row for run in seeds for row in found[run]]
        phases = sorted({tuple(row["updates"]) for row in rows})
        setting, _, arm = name.rpartition("-")[0].partition("/")
        head = ["chain", "concept", *(f"{first} to {last}" for first, last in phases), "written instead, at the end"]
        parts += [
            f"## {setting}, {ARMS[arm].label}: share of lines that are right, by updates\n",
            f"Seeds: {len(seeds)}. In brackets the lines, where they are fewer than 100. * marks hard concepts.\n",
            markdown_table(head, list(_table_rows(rows, phases))),
            "",
        ]
    return "\n".join(parts)


def _table_rows(rows: Sequence[dict[str, Any]], phases: Sequence[tuple[int, ...]]) -> Iterator[list[str]]:
    for chain, concept, hard in sorted({(row["chain"], row["concept"], row["hard"]) for row in rows}):
        here = [row for row in rows if (row["chain"], row["concept"]) == (chain, concept)]
        cells = [_cell([row for row in here if tuple(row["updates"]) == phase]) for phase in phases]
        instead: Counter[str] = Counter()
        for row in here:
            if tuple(row["updates"]) == phases[-1]:
                instead.update(row["instead"])
        most_common = ", ".join(f"{line or 'nothing'} ({n})" for line, n in instead.most_common(1))
        yield [CHAINS[chain], f"{concept}{'*' if hard else ''}", *cells, most_common]


def _cell(rows: Sequence[dict[str, Any]]) -> str:
    written, right = (sum(row[name] for row in rows) for name in ("written", "right"))
    if not written:
        return ""
    return f"{right / written:.2f}{f' ({written})' if written < 100 else ''}"


def main() -> None:
    """Trace the runs without a result, and report all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[OWN.name], help="default: %(default)s")
    parser.add_argument("--arms", nargs="+", choices=BY_PPO, default=["stepcoder"], help="default: %(default)s")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    reported = OUT / "concepts.json"
    known = collect(reported, WORK)
    for seed, setting, arm in itertools.product(SEEDS, chosen.settings, chosen.arms):
        job = Job(SETTINGS[setting], arm, seed)
        if job.name not in known:
            compute_once(WORK / "concepts" / f"{job.name}.json", partial(trace, job, WORK))
    found = collect(reported, WORK)
    write_json(reported, found)
    (OUT / "concepts.md").write_text(table(found))
    print(table(found))


def collect(reported: Path, work: Path) -> Found:
    """Return the results of all current settings, from an earlier report and from `work`."""
    found: Found = read_reported(reported)
    for path in work.glob("concepts/*/*.json"):
        found[f"{path.parent.name}/{path.stem}"] = json.loads(path.read_text())
    current = {_without_seed(Job(setting, arm, 0).name) for setting in SETTINGS.values() for arm in BY_PPO}
    return {name: rows for name, rows in sorted(found.items()) if _without_seed(name) in current}


def _without_seed(run: str) -> str:
    """Return the name of a run without its seed."""
    return run.rpartition("-seed")[0]


if __name__ == "__main__":
    main()
