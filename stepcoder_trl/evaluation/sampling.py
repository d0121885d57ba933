"""Draws samples for problems, batch by batch, in a way that can be broken off and resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.engines import Engine, SamplingPlan
from stepcoder_trl.evaluation.sample_files import Candidate
from stepcoder_trl.jsonl import cut_to_whole_lines, write_json
from stepcoder_trl.steps.queries import Query, build_query, program_of


@dataclass(frozen=True)
class _Item:
    """One completion to be drawn."""

    problem: Problem
    sample: int
    query: Query


def draw_samples(
    problems: Sequence[Problem],
    plan: SamplingPlan,
    tokenizer: Any,
    engine: Engine,
    folder: Path,
    rank: int = 0,
    num_processes: int = 1,
    follow: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> None:
    """
    Draw what is not drawn yet, and keep each batch in `folder` as soon as it is there.

    Every batch has a seed of its own: a run that was broken off and resumed gives the same samples. Processes take the
    batches in turn and write files of their own; `collect_samples` puts them together.

    Args:
        problems (`Sequence[Problem]`):
            Problems, prompts in their final form.
        plan ([`SamplingPlan`]):
            What is drawn.
        tokenizer (`Any`):
            Tokenizer of the model.
        engine (`Engine`):
            Draws.
        folder (`Path`):
            Where the samples of this run are kept.
        rank (`int`, *optional*, defaults to `0`):
            Number of this process.
        num_processes (`int`, *optional*, defaults to `1`):
            Processes.
        follow (`Callable`, *optional*):
            Goes through the batches, e.g. with a progress bar.

    Raises:
        BadInputError: If the folder holds samples of another plan.
    """
    _check_plan(folder, plan)
    done = _kept(folder, problems).keys()
    batches = list(_batches(problems, plan, tokenizer))
    part = folder / f"part-{rank}.jsonl"
    cut_to_whole_lines(part)  # what follows half a line would be lost with it
    with part.open("a", encoding="ascii", newline="\n") as stream:
        for number, batch in follow(list(enumerate(batches))[rank::num_processes]):
            if all((item.problem.task_id, item.sample) in done for item in batch):
                continue
            completions = engine([item.query for item in batch], plan.seed * 1_000_003 + number * plan.batch_size)
            for item, completion in zip(batch, completions, strict=True):
                program = program_of(item.query, completion).text
                candidate = Candidate(item.problem.task_id, item.sample, completion, program)
                row = {**candidate.to_row(), "problem": _digest(item.problem)}
                stream.write(json.dumps(row) + "\n")
            stream.flush()


def _batches(problems: Sequence[Problem], plan: SamplingPlan, tokenizer: Any) -> Iterator[list[_Item]]:
    """Completions to be drawn, those with prompts of like length together."""
    items = []
    for problem in problems:
        query = build_query(problem.prompt, problem.starter_code, tokenizer)
        items += [_Item(problem, sample, query) for sample in range(plan.num_samples)]
    items.sort(key=lambda item: len(item.query.token_ids))
    for start in range(0, len(items), plan.batch_size):
        yield items[start : start + plan.batch_size]


def _check_plan(folder: Path, plan: SamplingPlan) -> None:
    path = folder / "plan.json"
    wanted = asdict(plan)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
        return
    found = json.loads(path.read_text())
    different = [name for name in wanted if found.get(name) != wanted[name]]
    if different:
        name = different[0]
        raise BadInputError(
            f"{folder} holds samples drawn with `{name}` {found.get(name)!r}, not {wanted[name]!r}. Name another "
            "folder, or delete this one."
        )


def _digest(problem: Problem) -> str:
    """What a sample was drawn for: another file may have another problem of the same name."""
    return hashlib.sha256(json.dumps([problem.prompt, problem.starter_code]).encode()).hexdigest()[:16]


def _kept(folder: Path, problems: Sequence[Problem]) -> dict[tuple[str, int], Candidate]:
    """Samples drawn so far for these problems; a line that was cut off by a sudden end does not count."""
    digests = {problem.task_id: _digest(problem) for problem in problems}
    kept = {}
    for path in sorted(folder.glob("part-*.jsonl")):
        for line in path.read_text(encoding="ascii").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row.pop("problem", None) == digests.get(row["task_id"], ""):
                kept[row["task_id"], row["sample"]] = Candidate(**row)
    return kept


def collect_samples(folder: Path, problems: Sequence[Problem], plan: SamplingPlan) -> list[Candidate]:
    """
    Samples of all processes, in the order of the problems.

    Raises:
        BadInputError: If some are missing.
    """
    found = _kept(folder, problems)
    wanted = [(problem.task_id, sample) for problem in problems for sample in range(plan.num_samples)]
    missing = [key for key in wanted if key not in found]
    if missing:
        raise BadInputError(f"{folder}: {len(missing)} of {len(wanted)} samples are missing. Run the command again.")
    return [found[key] for key in wanted]
