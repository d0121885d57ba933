"""The story from the first problem to the last figure: fine-tune, evaluate, train with StepCoder PPO, evaluate."""

from __future__ import annotations

import dataclasses
import itertools
import json
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.syntax import Syntax
from transformers import (
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.utils import logging

from stepcoder_trl.curriculum import curriculum_stages
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation import Evaluation, evaluate_pass_at_1
from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.system import num_cores
from stepcoder_trl.generation import build_query
from stepcoder_trl.jsonl import write_json, write_rows, write_text
from stepcoder_trl.quickstart.problems import SyntheticConfig, noisy_demonstrations, synthetic_problems
from stepcoder_trl.quickstart.tiny_model import (
    SFTConfig,
    SFTStep,
    TinyModelConfig,
    build_model,
    build_tokenizer,
    fine_tune,
)
from stepcoder_trl.reports.html import rollouts_page
from stepcoder_trl.reports.plots import MISSING, can_plot, plot_curves
from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.reports.terminal import StageCount, before_after_table, rollouts_text, stage_table
from stepcoder_trl.trainer import StepCoderPPOConfig, StepCoderPPOTrainer
from stepcoder_trl.trainer.completions import rollout_views
from stepcoder_trl.trainer.rollout import Feedback, Rollout, Scores
from stepcoder_trl.versions import versions


HELDOUT_SEED = 1_000_000  # added to the seed: held-out problems are drawn from a stream of their own
TOKENIZER_TEXTS = 1000


@dataclass(frozen=True)
class Sizes:
    """
    How much is done.

    Args:
        sft_steps (`int`): Steps of supervised fine-tuning, 32 demonstrations each.
        updates (`int`): Updates of PPO.
        problems (`int`): Problems to train on.
        heldout (`int`): Problems that are only evaluated.
        prompts_per_update (`int`): Problems per update.
        num_generations (`int`): Completions per problem and update.
        evaluate_every (`int`): Updates between two evaluations of the learning curve.
    """

    sft_steps: int = 450
    updates: int = 24
    problems: int = 64
    heldout: int = 256
    prompts_per_update: int = 16
    num_generations: int = 8
    evaluate_every: int = 6

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise BadInputError(f"`{name}` is {value}, but must be at least 1. Leave it out for the default.")
        if self.prompts_per_update > self.problems:
            raise BadInputError(
                f"`prompts_per_update` is {self.prompts_per_update}, but there are only {self.problems} `problems`. "
                "Lower the one or raise the other."
            )


FULL = Sizes()
PROBLEMS = SyntheticConfig(style="scalar", min_clauses=2, max_clauses=3, min_arms=2, max_arms=3)
MODEL = TinyModelConfig()
FAST = Sizes(
    sft_steps=60, updates=3, problems=8, heldout=16, prompts_per_update=4, num_generations=4, evaluate_every=3
)


@dataclass(frozen=True)
class QuickstartConfig:
    """
    Settings of the quickstart.

    Args:
        out (`str`, *optional*, defaults to `"stepcoder-quickstart"`):
            Run directory; must not exist, or be empty.
        seed (`int`, *optional*, defaults to `0`):
            Seed of problems, model, fine-tuning and sampling.
        sizes ([`Sizes`], *optional*):
            How much is done.
        problems ([`SyntheticConfig`], *optional*):
            Family of problems, with the tests of the evaluation.
        training_tests (`int`, *optional*, defaults to `4`):
            Tests of a problem in training: fewer than in the evaluation, so that lines stay unexecuted.
        model ([`TinyModelConfig`], *optional*):
            Size of the model.
        easy_accuracy, hard_accuracy (`float`, *optional*, default to `0.85` and `0.35`):
            How often the fine-tuning corpus has easy and hard concepts right.
        learning_rate, value_learning_rate (`float`, *optional*, default to `4e-4` and `1e-3`):
            Learning rates of PPO.
        kl_coef (`float`, *optional*, defaults to `0.05`):
            KL coefficient of PPO.
        num_threads (`int`, *optional*, defaults to `1`):
            Threads of PyTorch.
    """

    out: str = "stepcoder-quickstart"
    seed: int = 0
    sizes: Sizes = FULL
    problems: SyntheticConfig = PROBLEMS
    training_tests: int = 4
    model: TinyModelConfig = MODEL
    easy_accuracy: float = 0.85
    hard_accuracy: float = 0.35
    learning_rate: float = 4e-4
    value_learning_rate: float = 1e-3
    kl_coef: float = 0.05
    num_threads: int = 1


@dataclass(frozen=True)
class _Material:
    """What everything starts from."""

    train: list[Problem]  # with few tests
    evaluated: dict[str, list[Problem]]  # the same ones and held-out ones, with all tests
    tokenizer: PreTrainedTokenizerFast
    model: LlamaForCausalLM
    response_length: int


class _Story:
    """Run directory, learning curves and console."""

    def __init__(self, config: QuickstartConfig, console: Console) -> None:
        self.config = config
        self.console = console
        self.directory = new_run_directory(config.out)
        self.rates: dict[str, list[tuple[float, float]]] = {}
        self.passing: list[tuple[float, float]] = []
        self.sft: list[SFTStep] = []

    def chapter(self, title: str) -> None:
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left")

    def note(self, phase: str, **values: Any) -> None:
        """Append a point to the learning curves."""
        with open(self.directory / "curves.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"phase": phase, **values}) + "\n")

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Any]:
        """Progress bar; yields a function that advances it and says how things stand."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[state]}"), console=self.console) as bar:
            task = bar.add_task(description, total=total, state="")
            yield lambda state: bar.update(task, advance=1, state=state)


def new_run_directory(path: str) -> Path:
    """
    Make the run directory.

    Raises:
        BadInputError: If there is something already: a finished run is never overwritten.
    """
    directory = Path(path)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BadInputError(f"`--out` is {path!r}, which exists already. Choose another directory or remove it.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"`--out` {path!r} cannot be made ({error.strerror}). Choose another directory.") from None
    return directory


def run_quickstart(config: QuickstartConfig, console: Console | None = None) -> dict[str, Any]:
    """
    Tell the whole story: generated problems, a tiny model with planted errors, StepCoder PPO, what it changed.

    Writes to the run directory: `summary.json`, `curves.jsonl`, `curves.png` (with the extra `plots`), `stages.jsonl`,
    `rollouts.html`, `rollouts.jsonl`, `problems_training.jsonl`, `problems_train.jsonl`
    and `problems_heldout.jsonl` (the second are the first with all tests), `sft/` and `policy/`.

    Args:
        config ([`QuickstartConfig`]):
            Settings.
        console (`rich.console.Console`, *optional*):
            Where it is told; standard output by default.

    Returns:
        `dict[str, Any]`: Content of `summary.json`.

    Raises:
        BadInputError: If the run directory exists, or a setting cannot be used.
        SandboxError: If programs cannot be run.
    """
    story = _Story(config, console or Console())
    begun_s, cpu_begun_s = time.perf_counter(), _cpu_seconds()
    with _quiet_and_threads(config.num_threads):
        material = _prepare(story)
        _fine_tune(story, material)
        workers = ExecutorConfig(num_workers=_num_workers(), timeout_s=1.0)
        with CodeExecutor(workers) as executor:
            story.chapter("Before: greedy programs under all tests")
            before = _evaluate(story, material, executor, update=0)
            trainer = _train(story, material, executor)
            story.chapter("After")
            after = _evaluate(story, material, executor, update=config.sizes.updates)
    _show(story, trainer, before, after)
    summary = {
        "pass_at_1_before": _rates(before),
        "pass_at_1_after": _rates(after),
        "outcomes_before": _outcomes(before),
        "outcomes_after": _outcomes(after),
        "num_problems": {name: len(evaluation.samples) for name, evaluation in before.items()},
        "infrastructure_errors": sum(one.infrastructure_errors for one in (*before.values(), *after.values())),
        "sft_loss": _tail_mean([step.loss for step in story.sft]),
        "sft_loss_floor": _tail_mean([step.floor for step in story.sft]),
        "curriculum": {"first": _stage_row(trainer.stages[0]), "last": _stage_row(trainer.stages[-1])},
        "completions": config.sizes.updates * config.sizes.prompts_per_update * config.sizes.num_generations,
        "parameters": sum(parameter.numel() for parameter in material.model.parameters()),
        "seconds": round(time.perf_counter() - begun_s, 1),
        "cpu_seconds": round(_cpu_seconds() - cpu_begun_s, 1),
        "seed": config.seed,
        "settings": dataclasses.asdict(config),
        "versions": versions(),
    }
    write_json(story.directory / "summary.json", summary)
    story.console.print(f"Took {summary['seconds']:.0f} s. Everything is in {story.directory}/: open rollouts.html.")
    return summary


@contextmanager
def _quiet_and_threads(num_threads: int) -> Iterator[None]:
    """Threads of PyTorch, and no progress bars but ours; both are restored."""
    threads, bars = torch.get_num_threads(), logging.is_progress_bar_enabled()
    torch.set_num_threads(num_threads)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if bars:
            logging.enable_progress_bar()


def _cpu_seconds() -> float:
    """CPU time of this process and of its children that ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _num_workers() -> int:
    return min(2, num_cores())


# Chapters


def _prepare(story: _Story) -> _Material:
    """Draw problems, build tokenizer and model, and show one problem."""
    config = story.config
    story.chapter("A family of problems")
    heldout = synthetic_problems(config.sizes.heldout, config.seed + HELDOUT_SEED, config.problems)
    prompts = {str(problem.prompt) for problem in heldout}
    few = dataclasses.replace(config.problems, test_strength="few", num_tests=config.training_tests)
    train, train_all_tests = (
        synthetic_problems(config.sizes.problems, config.seed, dials, exclude=prompts)
        for dials in (few, config.problems)
    )
    evaluated = {"train": train_all_tests, "heldout": heldout}
    for name, problems in {"training": train, **evaluated}.items():
        write_rows(story.directory / f"problems_{name}.jsonl", [problem.to_row() for problem in problems])
    example = train[0]
    stages = len(curriculum_stages(example.canonical_solution, example.starter_code))
    story.console.print(f"{len(train)} problems to train on, {len(heldout)} others held out. One of them:")
    story.console.print(Syntax(f'"""\n{example.prompt}"""\n{example.canonical_solution}', "python", theme="ansi_dark"))
    story.console.print(f"Its curriculum has {stages} stages, its tests are {len(example.tests['inputs'])} calls.")
    demonstrations = itertools.islice(noisy_demonstrations(config.seed, config.problems), TOKENIZER_TEXTS)
    tokenizer = build_tokenizer(one.prompt + one.program for one in demonstrations)
    model = build_model(tokenizer, config.model, config.seed)
    solutions = (problem.canonical_solution for problem in (*train, *heldout))
    response_length = max(len(tokenizer(solution)["input_ids"]) for solution in solutions) + 4
    longest = max(len(build_query(p.prompt, p.canonical_solution, tokenizer).token_ids) for p in (*train, *heldout))
    if longest + response_length > config.model.max_positions:
        raise BadInputError(
            f"A problem with its program takes {longest} tokens, and the model has {config.model.max_positions} "
            f"positions. Set `max_positions` to {longest + response_length}."
        )
    return _Material(train, evaluated, tokenizer, model, response_length)


def _fine_tune(story: _Story, material: _Material) -> None:
    config = story.config
    parameters = sum(parameter.numel() for parameter in material.model.parameters())
    story.chapter("Supervised fine-tuning on programs with planted errors")
    story.console.print(
        f"A Llama of {parameters:,} parameters learns from programs that have easy concepts right in "
        f"{config.easy_accuracy:.0%} and hard ones in {config.hard_accuracy:.0%} of all cases: it learns to write "
        "valid programs, and their errors with them."
    )
    demonstrations = noisy_demonstrations(
        config.seed,
        config.problems,
        easy_accuracy=config.easy_accuracy,
        hard_accuracy=config.hard_accuracy,
        exclude={str(problem.prompt) for problems in material.evaluated.values() for problem in problems},
    )
    settings = SFTConfig(num_steps=config.sizes.sft_steps, warmup_steps=min(50, config.sizes.sft_steps // 4))
    with story.progress("fine-tuning", settings.num_steps) as advance:

        def on_step(step: SFTStep) -> None:
            advance(f"loss {step.loss:.3f}, floor {step.floor:.3f}")
            story.note("sft", step=step.step, loss=step.loss, floor=step.floor, seconds=step.seconds)

        story.sft = fine_tune(material.model, material.tokenizer, demonstrations, settings, on_step)
    for part in (material.model, material.tokenizer):
        part.save_pretrained(story.directory / "sft")


def _evaluate(story: _Story, material: _Material, executor: CodeExecutor, update: int) -> dict[str, Evaluation]:
    """Greedy pass@1 from scratch, on both sets of problems."""
    evaluations = {}
    for name, problems in material.evaluated.items():
        evaluations[name] = evaluate_pass_at_1(
            material.model,
            material.tokenizer,
            problems,
            executor,
            max_new_tokens=material.response_length,
            temperature=0.0,
            batch_size=128,
        )
        story.rates.setdefault(name, []).append((update, evaluations[name].pass_at_1))
    rates = _rates(evaluations)
    story.note("evaluation", update=update, **rates)
    told = ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
    story.console.print(f"pass@1 after {update} updates: {told}")
    return evaluations


class StoryTrainer(StepCoderPPOTrainer):
    """
    Trainer that remembers what the reports show.

    Attributes:
        stages (`list[StageCount]`): Where the problems stood before the first update and after each.
        first_rollouts (`list[RolloutView]`): Completions of the first update.
        last_rollouts (`list[RolloutView]`): Those of the last one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stages = [StageCount(0, self._problems_at_stages(), 0.0)]
        self.first_rollouts: list[RolloutView] = []
        self.last_rollouts: list[RolloutView] = []

    def build_loss_mask(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> torch.Tensor:
        """As in training; keeps the completions with their masks."""
        loss_mask = super().build_loss_mask(rollout, feedback, scores)
        if self.state.global_step in (0, self.plan.num_updates - 1):
            self.last_rollouts = rollout_views(rollout, feedback, scores, loss_mask)
            self.first_rollouts = self.first_rollouts or self.last_rollouts
        return loss_mask

    def update_curriculum(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> None:
        """As in training; counts the problems at each stage."""
        super().update_curriculum(rollout, feedback, scores)
        ran = [execution.outcome == "passed" for execution in feedback.executions if execution is not None]
        passing = sum(ran) / len(ran) if ran else 0.0
        self.stages.append(StageCount(self.state.global_step + 1, self._problems_at_stages(), passing))

    def _problems_at_stages(self) -> dict[int, int]:
        curriculum = self.curriculum
        return {} if curriculum is None else dict(Counter(curriculum.stage(row.task_id) for row in self.rows))


def telling(rollouts: Sequence[RolloutView], most: int) -> list[RolloutView]:
    """At most one completion per problem, those with the most masked tokens first."""
    chosen: dict[str, RolloutView] = {}
    for rollout in sorted(rollouts, key=lambda rollout: -rollout.masked_share):
        chosen.setdefault(rollout.task_id, rollout)
    return list(chosen.values())[:most]


class _Watcher(TrainerCallback):
    """Advances the progress bar, notes the metrics and evaluates now and then."""

    def __init__(self, story: _Story, material: _Material, executor: CodeExecutor, advance: Any) -> None:
        self.story, self.material, self.executor, self.advance = story, material, executor, advance

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if not logs or "objective/scores" not in logs:
            return
        self.story.note("ppo", update=state.global_step, **logs)
        self.story.passing.append((state.global_step, logs["executor/passed"]))
        self.advance(
            f"score {logs['objective/scores']:+.2f}, passing {logs['executor/passed']:.0%}, "
            f"from scratch {logs['curriculum/scratch_share']:.0%}, KL {logs['objective/kl']:.1f}"
        )

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step, sizes = state.global_step, self.story.config.sizes
        if step % sizes.evaluate_every == 0 and step < sizes.updates:
            _evaluate(self.story, self.material, self.executor, update=step)


def _train(story: _Story, material: _Material, executor: CodeExecutor) -> StoryTrainer:
    sizes = story.config.sizes
    story.chapter("StepCoder PPO")
    story.console.print(
        f"{sizes.updates} updates of {sizes.prompts_per_update} problems x {sizes.num_generations} completions. Every "
        "problem starts near the end of its solution and moves toward the beginning; tokens of lines that no test ran "
        "are left out of the policy loss."
    )
    trainer = StoryTrainer(
        ppo_config(story.config, str(story.directory / "policy"), material.response_length),
        material.tokenizer,
        material.model,
        train_dataset=material.train,
        executor=executor,
    )
    trainer.remove_callback(PrinterCallback)
    with story.progress("training", sizes.updates) as advance:
        trainer.add_callback(_Watcher(story, material, executor, advance))
        trainer.train()
    trainer.save_model()
    return trainer


def ppo_config(config: QuickstartConfig, output_dir: str, response_length: int) -> StepCoderPPOConfig:
    """
    Settings of the trainer.

    They differ from the paper's where the model is 20,000 times smaller: learning rates, sampling from the whole
    distribution, and a lambda of 1, with which the score reaches the first token.
    """
    sizes = config.sizes
    completions = sizes.prompts_per_update * sizes.num_generations
    return StepCoderPPOConfig(
        output_dir=output_dir,
        per_device_train_batch_size=completions // 2 if completions % 2 == 0 else completions,
        gradient_accumulation_steps=2 if completions % 2 == 0 else 1,
        num_mini_batches=2 if completions % 2 == 0 else 1,
        local_rollout_forward_batch_size=completions,
        num_generations=sizes.num_generations,
        max_steps=sizes.updates,
        num_train_epochs=sizes.updates,
        response_length=response_length,
        learning_rate=config.learning_rate,
        value_learning_rate=config.value_learning_rate,
        kl_coef=config.kl_coef,
        temperature=1.0,
        top_p=1.0,
        lam=1.0,
        gradient_checkpointing=False,  # a tiny model fits
        test_timeout_s=1.0,
        seed=config.seed,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )


def _show(story: _Story, trainer: StoryTrainer, before: dict[str, Evaluation], after: dict[str, Evaluation]) -> None:
    """Tables, pages and pictures."""
    told = telling(trainer.last_rollouts, most=3)
    story.console.print(stage_table(trainer.stages))
    story.console.print("Completions of the last update, most masked tokens first:")
    story.console.print(rollouts_text(told))
    story.console.print(before_after_table(_rates(before), _rates(after), "pass@1, greedy, from scratch"))
    pages = {"first": trainer.first_rollouts, "last": trainer.last_rollouts}
    write_rows(
        story.directory / "rollouts.jsonl",
        [{"update": name, **dataclasses.asdict(view)} for name, views in pages.items() for view in views],
    )
    write_rows(story.directory / "stages.jsonl", [_stage_row(count) for count in trainer.stages])
    write_text(
        story.directory / "rollouts.html",
        rollouts_page(
            [*telling(trainer.last_rollouts, most=16), *telling(trainer.first_rollouts, most=8)],
            title="Which tokens were trained on: last update, then first; most masked tokens first",
        ),
    )
    if not can_plot():
        story.console.print(f"No curves.png: {MISSING}")
        return
    plot_curves(
        {"pass@1, greedy, from scratch": story.rates, "training": {"share of completions that pass": story.passing}},
        story.directory / "curves.png",
    )


def _rates(evaluations: dict[str, Evaluation]) -> dict[str, float]:
    return {name: round(evaluation.pass_at_1, 6) for name, evaluation in evaluations.items()}


def _outcomes(evaluations: dict[str, Evaluation]) -> dict[str, dict[str, int]]:
    return {
        name: dict(Counter(s.execution.outcome.value for s in evaluation.samples if s.execution is not None))
        for name, evaluation in evaluations.items()
    }


def _stage_row(count: StageCount) -> dict[str, Any]:
    problems = {str(stage): number for stage, number in sorted(count.problems.items())}
    return {"update": count.update, "problems_at_stage": problems, "passing": count.pass_rate}


def _tail_mean(values: Sequence[float]) -> float:
    """Mean of the last 50 values: single batches differ."""
    tail = values[-50:]
    return round(sum(tail) / len(tail), 4)
