"""`stepcoder-trl check`: check problems, and a configuration, before training.

Reads every row, runs the canonical solutions, counts tests and stages, measures prompts for a tokenizer, and says what
training would leave out. With --config it also plans the run: batches, and an estimate of memory. With
--measure-stages the model answers from each stage. Nothing is trained.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from types import SimpleNamespace
from typing import Any

from stepcoder_trl.cli.executor_flags import add_executor_arguments, add_workers, executor_choice
from stepcoder_trl.cli.measure_stages import add_measurement_arguments, measured_lines
from stepcoder_trl.cli.outputs import check_outputs, files_of
from stepcoder_trl.cli.progress_bar import progress
from stepcoder_trl.data.formats import RawRow, read_raw_rows
from stepcoder_trl.data.prompts import PROMPT_STYLES, style_prompts
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor import Backend, ExecutorConfig
from stepcoder_trl.executor.choice import ExecutorChoice
from stepcoder_trl.jsonl import write_rows
from stepcoder_trl.reports.rollouts import visible
from stepcoder_trl.steps.checks import NOT_RUN, ProblemCheck, QueryRule, check_rows
from stepcoder_trl.types import Outcome


EPILOG = """rows of --out, one per row: {"row", "task_id", "error", "skipped", "difficulty", "tests", "trusted_tests",
  "solution", "message", "time_s", "stages", "query_tokens", "left_out", "left_out_of_sft"}. solution is an outcome,
  "missing" or "not run". A solution gets ten times its time limit, as before training.
exit status: 0 all is well, 1 something is wrong (printed), 2 the check could not be made.

examples:
  stepcoder-trl check mine.jsonl
  stepcoder-trl check mine.jsonl --model runs/sft --out checked.jsonl
  stepcoder-trl check --config run.yaml --trainer grpo
  stepcoder-trl check mine.jsonl --model runs/sft --measure-stages stages.jsonl
"""
_SHOWN = 20
_NAMED = 3  # problems that `sft` leaves out, in the table
_LINE_LENGTH = 300


@dataclass(frozen=True)
class _Plan:
    """What is checked beside the rows."""

    sources: list[str]
    model: str | None
    prompt_style: str
    rule: QueryRule = field(default_factory=QueryRule)
    response_length: int = 0
    max_prompt_length: int | None = None
    max_problems: int | None = None
    training_args: Any = None
    model_args: Any = None
    sharding: Any = None
    complaint: str = ""  # about lengths
    vocabulary: str = ""  # what is wrong with it
    note: str = ""  # nothing is wrong, but good to know
    missing: str = ""  # what the configuration lacks
    choice: ExecutorChoice = field(default_factory=ExecutorChoice)

    @property
    def wrong(self) -> list[str]:
        """Return what is wrong with model or configuration."""
        return [text for text in (self.complaint, self.vocabulary, self.missing) if text]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.usage = "%(prog)s PROBLEMS... [--model MODEL] [--config YAML] [options]"
    add = parser.add_argument
    add("problems", nargs="*", metavar="PROBLEMS", help="Check the problems of these files (-: standard input).")
    add("--out", metavar="FILE", help="Write one row per problem to this JSONL file (-: standard output).")
    add_workers(add, "solutions")
    add("--timeout-s", type=float, default=3.0, metavar="S", help="Limit the CPU seconds per test (default: 3).")
    add_executor_arguments(parser)
    add = parser.add_argument_group("lengths of prompts").add_argument
    add("--model", metavar="MODEL", help="Measure prompts with the tokenizer of this folder or model of the Hub.")
    add("--prompt-style", choices=PROMPT_STYLES, metavar="STYLE", help="plain (default), chat or deepseek.")
    add_measurement_arguments(parser)
    add = parser.add_argument_group("dry run").add_argument
    add("--config", metavar="YAML", help="Plan the run of this file, as sft, ppo and grpo read it.")
    add("--trainer", choices=("ppo", "grpo", "sft"), default="ppo", help="Verb that the file is for (default: ppo).")


def run(arguments: argparse.Namespace) -> int:
    """Check all rows and the configuration, and return the exit status."""
    plan = _plan(arguments)
    check_outputs(
        {"--out": arguments.out, "--measure-stages": arguments.measure_stages},
        [*plan.sources, *files_of(plan.model), arguments.config],
    )
    choice = _choice(arguments, plan)
    plan = _with_tokenizer(plan)
    bad_text: list[BadInputError] = []
    rows = _styled(read_raw_rows(plan.sources, bad_text.append)[: plan.max_problems], plan)
    with choice.open() as executor:
        checks = check_rows(rows, executor, plan.rule, lambda futures: progress(futures, "running solutions"))
        _check_that_some_ran(checks)
        measured = _measured(arguments, plan, rows, checks, executor)
    checks += [ProblemCheck(0, "", str(error)) for error in bad_text]
    lines = [*_summary(checks, plan), *filter(None, [plan.note]), *plan.wrong, *_complaints(checks, plan)]
    planned, is_fine = _dry_run(arguments, plan, checks)
    print("\n".join([*lines, *measured, *planned]), file=sys.stderr if arguments.out == "-" else sys.stdout)
    if arguments.out:
        write_rows(arguments.out, map(asdict, checks))
    return 0 if is_fine and not plan.wrong and not any(check.is_wrong for check in checks) else 1


def _check_that_some_ran(checks: Sequence[ProblemCheck]) -> None:
    """Raise a `SandboxError` if the sandbox failed to run every solution: there is nothing to report."""
    messages = [check.message for check in checks if check.solution == NOT_RUN and check.message]
    if messages and all(check.solution == NOT_RUN for check in checks):
        raise SandboxError(f"None of the {len(messages)} solutions could be run: {messages[0]}")


def _measured(
    arguments: argparse.Namespace,
    plan: _Plan,
    rows: Sequence[RawRow],
    checks: Sequence[ProblemCheck],
    executor: Backend,
) -> list[str]:
    """Return the lines about the pass rates of the stages, none if they are not measured."""
    if arguments.measure_stages is None:
        return []
    pairs = zip(rows, checks[: len(rows)], strict=True)
    usable = [
        row.problem
        for row, found in pairs
        if row.problem is not None and found.solution == Outcome.PASSED and not (found.error or found.left_out)
    ]
    return measured_lines(arguments, plan.model, plan.training_args, plan.rule, usable, executor)


def _choice(arguments: argparse.Namespace, plan: _Plan) -> ExecutorChoice:
    """Return the executor of the flags, or that of the configuration where the flags name none."""
    config = ExecutorConfig(
        num_workers=arguments.num_workers, timeout_s=arguments.timeout_s, program_timeout_s=math.inf, trace=False
    )
    given = arguments.executor or arguments.executor_urls
    if given:
        return executor_choice(arguments, config)
    choice = replace(plan.choice, config=config)
    choice.probe()
    return choice


def _plan(arguments: argparse.Namespace) -> _Plan:
    """Return what is checked, from the flags and the configuration."""
    style = arguments.prompt_style
    if arguments.config is None:
        if not arguments.problems:
            raise BadInputError("No file of problems is given. Write `stepcoder-trl check mine.jsonl`.")
        if not arguments.model:
            return _Plan(arguments.problems, None, style or "plain")
        length, rule = _default_length(arguments.trainer), QueryRule(max_length=_max_length(_defaults("sft")))
        return _Plan(arguments.problems, arguments.model, style or "plain", rule, response_length=length)
    from stepcoder_trl.cli.training import read_run
    from stepcoder_trl.steps.reward_functions import named_reward
    from stepcoder_trl.trainer.dry_run import Sharding, completion_length

    trainer = arguments.trainer
    run = read_run(trainer, arguments.config, arguments.problems)
    script, training, model = run.script_args, run.training_args, run.model_args
    if arguments.model is not None:
        model.model_name_or_path = arguments.model
    missing = "`model_name_or_path` is missing: training needs it. Add it to the file, or pass `--model`."
    is_sft = trainer == "sft"
    for name in (not is_sft and script.reward_funcs) or []:
        named_reward(name)  # it can be imported
    rule = QueryRule(
        max_length=_max_length(training) if is_sft else math.inf,
        kinds="statements" if is_sft else training.curriculum_kinds,
        has_curriculum=not is_sft and training.curriculum != "off",
        chat_template_kwargs=script.chat_template_kwargs if is_sft else training.chat_template_kwargs,
    )
    return _Plan(
        sources=run.problems,
        model=model.model_name_or_path,
        prompt_style=style or script.prompt_style,
        rule=rule,
        response_length=0 if is_sft else completion_length(training, trainer),
        max_prompt_length=None if is_sft else training.max_prompt_length,
        max_problems=script.max_problems,
        training_args=training,
        model_args=model,
        sharding=Sharding(run.num_processes, run.zero_stage),
        choice=(script if is_sft else training).executor_choice(),
        missing="" if model.model_name_or_path else missing,
    )


def _default_length(trainer: str) -> int:
    """Return the most tokens of a completion in a run on its defaults."""
    from stepcoder_trl.trainer.dry_run import completion_length

    return 0 if trainer == "sft" else completion_length(_defaults(trainer), trainer)


def _max_length(training_args: Any) -> float:
    """Return the tokens of a query from which on `sft` leaves a problem out."""
    return math.inf if training_args.max_length is None else float(training_args.max_length)


def _defaults(trainer: str) -> SimpleNamespace:
    """Return the defaults of the configuration of a trainer."""
    from stepcoder_trl.cli.training import training_classes

    return SimpleNamespace(**{field.name: field.default for field in fields(training_classes(trainer)[1])})


def _with_tokenizer(plan: _Plan) -> _Plan:
    """Return a plan with the model's tokenizer and the limit of its positions."""
    if plan.model is None:
        return plan
    from stepcoder_trl.evaluation.tokenizers import load_tokenizer, text_config

    tokenizer = load_tokenizer(plan.model, "model")
    config = text_config(plan.model)
    limits = [plan.max_prompt_length, config.get("max_position_embeddings")]
    if limits[1] is not None:
        limits[1] -= plan.response_length
    limit = min((float(one) for one in limits if one is not None), default=plan.rule.limit)
    complaint = ""
    if limit <= 0:
        complaint = (
            f"A response of {plan.response_length} tokens leaves no room for a query in the model's "
            f"{limit + plan.response_length:.0f} positions. Lower `response_length` (GRPO: `max_completion_length`)."
        )
        limit += plan.response_length
    vocabulary, note = _vocabulary(tokenizer, config.get("vocab_size"))
    rule = replace(plan.rule, tokenizer=tokenizer, limit=limit)
    return replace(plan, rule=rule, complaint=complaint, vocabulary=vocabulary, note=note)


def _vocabulary(tokenizer: Any, embeddings: int | None) -> tuple[str, str]:
    """Return what is wrong, and else what to know, if a tokenizer has more tokens than its model embeddings."""
    from stepcoder_trl.evaluation.tokenizers import missing_embedding

    if embeddings is None or len(tokenizer) <= embeddings:
        return "", ""
    wrong = missing_embedding(tokenizer, embeddings)
    note = (
        f"The tokenizer has {len(tokenizer)} tokens, but the model has only {embeddings} embeddings. Training refuses "
        "a query that holds one of the others."
    )
    return (wrong, "") if wrong else ("", note)


def _styled(rows: Sequence[RawRow], plan: _Plan) -> list[RawRow]:
    """Return rows with their prompts in the style of the run."""
    if plan.rule.tokenizer is None:
        return list(rows)
    problems = [row.problem for row in rows if row.problem is not None]
    styled = iter(style_prompts(problems, plan.prompt_style, plan.rule.tokenizer))
    return [row if row.problem is None else replace(row, problem=next(styled)) for row in rows]


def _summary(checks: Sequence[ProblemCheck], plan: _Plan) -> list[str]:
    skipped = sum(bool(check.skipped) for check in checks)
    readable = [check for check in checks if not check.error and not check.skipped]
    solutions = Counter(check.solution for check in readable)
    ran = [check for check in readable if check.solution != NOT_RUN]
    stages = Counter(check.stages for check in ran)
    figures = {
        "rows": f"{len(checks)}, of which {len(checks) - len(readable) - skipped} cannot be used",
        **({"skipped rows": f"{skipped} that are no problems in Python"} if skipped else {}),
        "solutions": ", ".join(f"{count} {name}" for name, count in solutions.most_common()),
        "tests": f"{sum(c.tests for c in ran)}, of which {sum(c.trusted_tests for c in ran)} trusted",
        "stages": ", ".join(f"{number} in {count} problems" for number, count in sorted(stages.items())),
    }
    lengths = [check.query_tokens for check in readable if check.query_tokens is not None]
    if lengths:
        allowed = "a run has no room for it" if plan.complaint else f"a run allows {plan.rule.limit:.0f}"
        figures["longest query"] = f"{max(lengths)} tokens; {allowed}"
    figures["ppo, grpo leave out"] = str(sum(bool(check.left_out) for check in readable))
    without = [f"{check.task_id}: {check.left_out_of_sft}" for check in readable if check.left_out_of_sft]
    more = "; ..." if len(without) > _NAMED else ""
    figures["sft leaves out"] = f"{len(without)} ({'; '.join(without[:_NAMED])}{more})" if without else "0"
    return _table(", ".join(plan.sources), figures)


def _complaints(checks: Sequence[ProblemCheck], plan: _Plan) -> list[str]:
    """Return a line for each of the first rows with which something is wrong."""
    wrong = [check for check in checks if check.is_wrong]
    if not wrong:
        return ["Nothing else is wrong." if plan.wrong else "Nothing is wrong."]
    lines = ["What is wrong:"]
    for check in wrong[:_SHOWN]:
        reasons = [check.error, f"left out: {check.left_out}" if check.left_out else ""]
        if not check.error and check.message:
            reasons.append(f"solution {check.solution}: {check.message}")
        name = "" if check.error else f"{check.task_id}: "
        lines.append(visible(" ".join(f"  {name}{'; '.join(filter(None, reasons))}".split("\n")))[:_LINE_LENGTH])
    if len(wrong) > _SHOWN:
        lines.append(f"  and {len(wrong) - _SHOWN} more. `--out FILE` lists all.")
    return lines


def _dry_run(arguments: argparse.Namespace, plan: _Plan, checks: Sequence[ProblemCheck]) -> tuple[list[str], bool]:
    """Return the lines about the configuration, and whether its sizes fit together."""
    if plan.training_args is None:
        return [], True
    if plan.complaint:
        return [], True
    from stepcoder_trl.trainer.dry_run import dry_run

    name = "left_out_of_sft" if arguments.trainer == "sft" else "left_out"
    usable = [check for check in checks if not check.error and not check.skipped and not getattr(check, name)]
    longest = max((check.query_tokens or 0 for check in usable), default=0)
    title = f"{arguments.trainer} with {arguments.config} in {plan.sharding.num_processes} process(es)"
    try:
        found = dry_run(arguments.trainer, plan.training_args, plan.model_args, len(usable), longest, plan.sharding)
    except BadInputError as error:
        return [f"{title}: {error}"], False
    lines = _table(title, {name: f"{size:,}" for name, size in found.batches.items()})
    if found.memory_bytes:
        needed = {**found.memory_bytes, "total": sum(found.memory_bytes.values())}
        title = (
            f"Estimated memory per process, for {found.parameters:,} parameters of the model and {found.trained:,} "
            "trained ones. Activations come on top"
        )
        lines += _table(title, {name: _size(size) for name, size in needed.items()})
    return lines, True


def _size(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.1f} MiB"


def _table(title: str, figures: dict[str, str]) -> list[str]:
    width = max(map(len, figures)) + 2
    return [f"{visible(title)}:", *(f"  {name:{width}}{visible(text)}" for name, text in figures.items())]
