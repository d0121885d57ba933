"""Sections of the quickstart: problems, fine-tuning, evaluation, training, results."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.syntax import Syntax
from transformers import (
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from stepcoder_trl.curriculum import curriculum_stages
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation import Evaluation, evaluate_pass_at_1
from stepcoder_trl.executor import CodeExecutor
from stepcoder_trl.jsonl import write_rows
from stepcoder_trl.quickstart.problems import noisy_demonstrations, synthetic_problems
from stepcoder_trl.quickstart.run_directory import RunDirectory
from stepcoder_trl.quickstart.settings import QuickstartConfig, grpo_config, ppo_config
from stepcoder_trl.quickstart.tiny_model import SFTConfig, SFTStep, build_model, build_tokenizer, fine_tune
from stepcoder_trl.reports.plots import MISSING, can_plot, plot_curves
from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.reports.run_facts import PassRate, read_facts
from stepcoder_trl.reports.run_files import PAGE, write_card, write_page
from stepcoder_trl.reports.terminal import StageCount, before_after_table, rollouts_text, stage_table
from stepcoder_trl.steps.queries import build_query
from stepcoder_trl.trainer import StepCoderPPOTrainer
from stepcoder_trl.trainer.records import Update
from stepcoder_trl.trainer.rollout_log import completion_views, rollout_views
from stepcoder_trl.types import Execution


if TYPE_CHECKING:
    from stepcoder_trl.trainer.grpo_round import Round
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer


HELDOUT_SEED = 1_000_000  # added to the seed, so that held-out problems come from another random stream
TOKENIZER_TEXTS = 1000
TITLES = {"ppo": "PPO", "grpo": "on GRPO"}
SCORES = {"ppo": "objective/scores", "grpo": "reward"}  # metric of each trainer


@dataclass(frozen=True)
class Material:
    """Problems, tokenizer and model."""

    train: list[Problem]  # with the few tests of training
    evaluated: dict[str, list[Problem]]  # training and held-out problems with all tests
    tokenizer: PreTrainedTokenizerFast
    model: LlamaForCausalLM  # fine-tuning and training change it in place
    response_length: int  # maximum number of tokens per completion


def prepare(config: QuickstartConfig, run: RunDirectory) -> Material:
    """Generate problems, build tokenizer and model, and print one problem."""
    run.print_heading("Generated problems")
    heldout = synthetic_problems(config.sizes.heldout, config.seed + HELDOUT_SEED, config.problems)
    prompts = {str(problem.prompt) for problem in heldout}
    few_tests = dataclasses.replace(config.problems, test_strength="few", num_tests=config.training_tests)
    train, train_all_tests = (
        synthetic_problems(config.sizes.problems, config.seed, settings, exclude=prompts)
        for settings in (few_tests, config.problems)
    )
    evaluated = {"train": train_all_tests, "heldout": heldout}
    for name, problems in {"few_tests": train, **evaluated}.items():
        write_rows(run.path / f"problems_{name}.jsonl", [problem.to_row() for problem in problems])
    _print_problem(train, run)
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
    return Material(train, evaluated, tokenizer, model, response_length)


def _print_problem(problems: Sequence[Problem], run: RunDirectory) -> None:
    """Print the first problem with its solution."""
    example = problems[0]
    stages = len(curriculum_stages(example.canonical_solution, example.starter_code))
    run.console.print(f"{len(problems)} training problems. The held-out problems are different ones. An example:")
    text = f'"""\n{example.prompt}"""\n{example.canonical_solution}'
    run.console.print(Syntax(text, "python", theme="ansi_dark", word_wrap=True))
    run.console.print(f"Its curriculum has {stages} stages. It has {len(example.tests['inputs'])} tests in training.")


def fine_tune_model(config: QuickstartConfig, material: Material, run: RunDirectory) -> list[SFTStep]:
    """Fine-tune the model on programs with planted errors, save it to `sft/`, and return its learning curve."""
    parameters = sum(parameter.numel() for parameter in material.model.parameters())
    run.print_heading("Supervised fine-tuning on programs with planted errors")
    run.console.print(
        f"A Llama of {parameters:,} parameters learns from programs that have easy concepts right in "
        f"{config.easy_accuracy:.0%} and hard concepts in {config.hard_accuracy:.0%} of all cases. It learns to write "
        "valid programs, and it learns their errors. The planted errors are random, so that the "
        "loss cannot reach 0: the lowest possible value stands beside it."
    )
    demonstrations = noisy_demonstrations(
        config.seed,
        config.problems,
        easy_accuracy=config.easy_accuracy,
        hard_accuracy=config.hard_accuracy,
        exclude={str(problem.prompt) for problems in material.evaluated.values() for problem in problems},
    )
    settings = SFTConfig(num_steps=config.sizes.sft_steps, warmup_steps=min(50, config.sizes.sft_steps // 4))
    with run.progress("fine-tuning", settings.num_steps) as advance:

        def on_step(step: SFTStep) -> None:
            advance(f"loss {step.loss:.3f}, lowest possible {step.floor:.3f}")
            run.add_point("sft", step=step.step, loss=step.loss, floor=step.floor, seconds=step.seconds)

        curve = fine_tune(material.model, material.tokenizer, demonstrations, settings, on_step)
    run.console.print(f"The loss is {curve[-1].loss:.3f} at the end; {curve[-1].floor:.3f} is the lowest possible.")
    for part in (material.model, material.tokenizer):
        part.save_pretrained(run.path / "sft")
    material.model.config.name_or_path = str(run.path / "sft")  # the base model of the policy's card
    return curve


def evaluate(material: Material, executor: CodeExecutor, run: RunDirectory, update: int) -> dict[str, Evaluation]:
    """Return greedy pass@1 from scratch, under all tests, of training and held-out problems."""
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
        run.pass_rates.setdefault(name, []).append((update, evaluations[name].pass_at_1))
    rates = pass_rates(evaluations)
    run.add_point("evaluation", update=update, **rates)
    shown = ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
    run.console.print(f"pass@1 after {update} updates: {shown}")
    return evaluations


class UpdateLog:
    """
    Records the curriculum's stages, and the completions of the first and the last update of a trainer.

    Args:
        trainer (PPO or GRPO trainer): Trainer whose curriculum is recorded.
        num_updates (`int`): Updates of the whole run.
    """

    def __init__(self, trainer: StepCoderPPOTrainer | StepCoderGRPOTrainer, num_updates: int) -> None:
        self.trainer, self.num_updates = trainer, num_updates
        self.stages = [StageCount(0, self._problems_at_stages(), 0.0)]
        self.first_rollouts: list[RolloutView] = []
        self.last_rollouts: list[RolloutView] = []

    def add_update(self, update: Update) -> None:
        """Record an update of PPO."""
        views = rollout_views(update.rollout, update.feedback, update.scores, update.loss_mask)
        self._add(update.step, update.feedback.executions, views)

    def add_round(self, this: Round) -> None:
        """Record a round of GRPO."""
        views = completion_views(this.completions, this.executions, this.scores, this.loss_mask)
        self._add(this.number, this.executions, views)

    def _add(self, number: int, executions: Sequence[Execution | None], views: list[RolloutView]) -> None:
        if number in (0, self.num_updates - 1):
            self.last_rollouts = views
            self.first_rollouts = self.first_rollouts or self.last_rollouts
        passed = [execution.outcome == "passed" for execution in executions if execution is not None]
        passing = sum(passed) / len(passed) if passed else 0.0
        self.stages.append(StageCount(number + 1, self._problems_at_stages(), passing))

    def _problems_at_stages(self) -> dict[int, int]:
        curriculum = self.trainer.curriculum
        if curriculum is None:
            return {}
        return dict(Counter(curriculum.stage(row.task_id) for row in self.trainer.training_set.rows))


def train(config: QuickstartConfig, material: Material, executor: CodeExecutor, run: RunDirectory) -> UpdateLog:
    """Train with StepCoder, save the model to `policy/`, and return the record of its updates."""
    sizes = config.sizes
    run.print_heading(f"StepCoder {TITLES[config.trainer]}")
    run.console.print(
        f"{sizes.updates} updates of {sizes.prompts_per_update} problems x {sizes.num_generations} completions. Every "
        "problem starts near the end of its solution and moves toward the beginning. Tokens on lines that no test ran "
        "are left out of the policy loss."
    )
    make: Any = {"ppo": ppo_trainer, "grpo": grpo_trainer}[config.trainer]
    trainer, log = make(config, material, executor, str(run.path / "policy"))
    trainer.remove_callback(PrinterCallback)
    with run.progress("training", sizes.updates) as advance:
        trainer.add_callback(_TrainingProgress(config, material, executor, run, advance))
        trainer.train()
    trainer.save_model()
    return log


def ppo_trainer(
    config: QuickstartConfig, material: Material, executor: CodeExecutor, folder: str
) -> tuple[StepCoderPPOTrainer, UpdateLog]:
    """Return a PPO trainer, and the record of its updates."""
    args = ppo_config(config, folder, material.response_length)
    trainer = StepCoderPPOTrainer(
        args, material.tokenizer, material.model, train_dataset=material.train, executor=executor
    )
    log = UpdateLog(trainer, config.sizes.updates)
    trainer.on_update = log.add_update
    return trainer, log


def grpo_trainer(
    config: QuickstartConfig, material: Material, executor: CodeExecutor, folder: str
) -> tuple[StepCoderGRPOTrainer, UpdateLog]:
    """Return a GRPO trainer, and the record of its rounds."""
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer  # TRL's GRPO imports more than its PPO

    args = grpo_config(config, folder, material.response_length)
    trainer = StepCoderGRPOTrainer(
        material.model,
        args=args,
        train_dataset=material.train,
        processing_class=material.tokenizer,
        executor=executor,
    )
    log = UpdateLog(trainer, config.sizes.updates)
    trainer.on_round = log.add_round
    return trainer, log


class _TrainingProgress(TrainerCallback):
    """Advances the progress bar, writes the metrics to the curves, and evaluates every few updates."""

    def __init__(
        self, config: QuickstartConfig, material: Material, executor: CodeExecutor, run: RunDirectory, advance: Any
    ) -> None:
        self.sizes, self.phase = config.sizes, config.trainer
        self.material, self.executor, self.run, self.advance = material, executor, run, advance

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if not logs or SCORES[self.phase] not in logs:
            return
        self.run.add_point(self.phase, update=state.global_step, **logs)
        self.run.passing.append((state.global_step, logs["executor/passed"]))
        self.advance(
            f"score {logs[SCORES[self.phase]]:+.2f}, passing {logs['executor/passed']:.0%}, "
            f"from scratch {logs['curriculum/scratch_share']:.0%}"
            + (f", KL {logs['objective/kl']:.1f}" if "objective/kl" in logs else "")
        )

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step = state.global_step
        if step % self.sizes.evaluate_every == 0 and step < self.sizes.updates:
            evaluate(self.material, self.executor, self.run, update=step)


def show_results(
    log: UpdateLog, before: dict[str, Evaluation], after: dict[str, Evaluation], run: RunDirectory
) -> None:
    """Print tables and completions; write `stages.jsonl`, the rollouts, the curves, and the page of the run."""
    run.console.print(stage_table(log.stages))
    run.console.print("Completions of the last update, most masked tokens first:")
    run.console.print(rollouts_text(most_masked(log.last_rollouts, limit=3)))
    run.console.print(before_after_table(pass_rates(before), pass_rates(after), "pass@1, greedy, from scratch"))
    updates = {"first": log.first_rollouts, "last": log.last_rollouts}
    write_rows(
        run.path / "rollouts.jsonl",
        [{"update": name, **dataclasses.asdict(view)} for name, views in updates.items() for view in views],
    )
    write_rows(run.path / "stages.jsonl", [stage_row(count) for count in log.stages])
    write_report(log.num_updates, run)
    if not can_plot():
        run.console.print(f"No curves.png: {MISSING}", markup=False)
        return
    plot_curves(
        {"pass@1, greedy, from scratch": run.pass_rates, "Training": {"completions that pass": run.passing}},
        run.path / "curves.png",
        {"pass@1, greedy, from scratch": "share of problems", "Training": "share of completions"},
    )


def write_report(num_updates: int, run: RunDirectory) -> None:
    """Add the evaluations to the card in `policy/`, and write the page of the run, `report.html`."""
    policy = run.path / "policy"
    facts = read_facts(policy)
    assert facts is not None  # the trainer has just written it
    length = facts.settings.get("response_length") or facts.settings["max_completion_length"]
    sampling = f"greedy, at most {length} tokens"
    evaluated: dict[float, dict[str, float]] = {}
    for name, points in run.pass_rates.items():
        for update, rate in points:
            evaluated.setdefault(update, {"step": update})[f"eval_{name}_pass@1"] = round(rate, 6)
    last = evaluated[num_updates]
    titles = {"train": "training problems, all tests", "heldout": "held-out problems, all tests"}
    rates = [PassRate(title, 1, last[f"eval_{name}_pass@1"], sampling) for name, title in titles.items()]
    history = sorted([*facts.history, *evaluated.values()], key=lambda entry: entry["step"])
    facts = dataclasses.replace(
        facts,
        model_name=f"{run.path.resolve().name}/{policy.name}",
        history=history,
        training_data="generated by the quickstart",
        pass_rates=rates,
    )
    write_card(facts, policy)
    write_page(facts, policy, run.path / PAGE)
    (policy / PAGE).unlink(missing_ok=True)  # one page is enough


def most_masked(rollouts: Sequence[RolloutView], limit: int) -> list[RolloutView]:
    """Return the completions with most masked tokens first, at most one per problem and `limit` in all."""
    chosen: dict[str, RolloutView] = {}
    for rollout in sorted(rollouts, key=lambda rollout: -rollout.masked_share):
        chosen.setdefault(rollout.task_id, rollout)
    return list(chosen.values())[:limit]


def pass_rates(evaluations: dict[str, Evaluation]) -> dict[str, float]:
    """Return pass@1 of each set of problems."""
    return {name: round(evaluation.pass_at_1, 6) for name, evaluation in evaluations.items()}


def stage_row(count: StageCount) -> dict[str, Any]:
    """Return the number of problems at each stage as a row of JSON."""
    problems = {str(stage): number for stage, number in sorted(count.problems.items())}
    return {"update": count.update, "problems_at_stage": problems, "passing": count.pass_rate}
