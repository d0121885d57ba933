"""Evaluation while training and on demand: pass@k from scratch, and completions to look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from rich.console import Console

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import SamplingConfig
from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation
from stepcoder_trl.evaluation.sampling import Sample, seeded, split_batches
from stepcoder_trl.evaluation.scoring import score_samples
from stepcoder_trl.reports.terminal import completions_table
from stepcoder_trl.steps.programs import Feedback, ProgramRunner
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import PromptRow, as_rows, fitting_rows
from stepcoder_trl.steps.starts import Start, longest_query
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.records import Rollout, Scores
from stepcoder_trl.trainer.rollout_log import print_completions, rollout_views
from stepcoder_trl.trainer.signals import Interruption


COMPLETIONS_SHOWN = 5  # as upstream


class EvaluationSteps(Protocol):
    """Steps of a trainer that an evaluation uses."""

    def build_query(self, row: PromptRow, prefix: str) -> Query:
        """Query of a row."""

    def generate_rollout(self, starts: tuple[Start, ...], sampling: SamplingConfig | None = None) -> Rollout:
        """Completions of some starts."""

    def check_infrastructure(self, *feedback: Feedback) -> None:
        """Stop if the sandbox failed to run too many programs."""

    def score_completions(self, rollout: Rollout, feedback: Feedback) -> Scores:
        """Score the completions."""

    def check_signals(self) -> None:
        """Stop if a signal asked for it."""


@dataclass(frozen=True)
class EvalItem:
    """
    One completion of an evaluation.

    Attributes:
        number (`int`): Place in the whole evaluation.
        row (`PromptRow`): Problem.
        counts (`bool`): Whether it counts; an item that only fills up a process's share does not.
    """

    number: int
    row: PromptRow
    counts: bool


@dataclass(frozen=True)
class Judged:
    """
    One batch of an evaluation.

    Attributes:
        rollout (`Rollout`): Completions.
        feedback (`Feedback`): Their executions.
        scores (`Scores`): Their scores.
        samples (`tuple[EvaluatedSample, ...]`): Their results.
    """

    rollout: Rollout
    feedback: Feedback
    scores: Scores
    samples: tuple[EvaluatedSample, ...]


def evaluation_sets(dataset: Any, prefix: str) -> dict[str, list[PromptRow]]:
    """
    Rows to evaluate, by prefix of their metrics.

    Args:
        dataset ([`~datasets.Dataset`], sequence of [`Problem`] or mappings, or `dict` of them):
            Problems, or rows with `input_ids`.
        prefix (`str`):
            Prefix; the name of a set in a `dict` is added to it.

    Returns:
        `dict[str, list[PromptRow]]`

    Raises:
        BadInputError: If there is none, or one without rows.
    """
    if dataset is None:
        raise BadInputError("There is no `eval_dataset`. Pass problems with tests to the trainer, or to `evaluate`.")
    named = {f"{prefix}_{name}": rows for name, rows in dataset.items()} if isinstance(dataset, Mapping) else None
    sets = {name: as_rows(rows, "eval_dataset") for name, rows in (named or {prefix: dataset}).items()}
    for name, rows in sets.items():
        if not rows:
            raise BadInputError(f"`eval_dataset` has no rows for {name!r}. Pass problems with tests, or leave it out.")
    return sets


def usable_sets(
    dataset: Any, args: StepCoderPPOConfig, build_query: Callable[[PromptRow, str], Query], limit: float
) -> dict[str, list[PromptRow]]:
    """
    Rows of a trainer's evaluation set that fit, by prefix of their metrics.

    Args:
        dataset (*optional*):
            `eval_dataset` of the trainer.
        args ([`StepCoderPPOConfig`]):
            Configuration: whether evaluations are asked for.
        build_query (`Callable`):
            Takes a row and a prefix and returns the query.
        limit (`float`):
            Maximum number of tokens of a query. Rows with a longer one are left out and named.

    Returns:
        `dict[str, list[PromptRow]]`: Empty without a dataset.

    Raises:
        BadInputError: If evaluations are asked for without a dataset, or no row of a set fits.
    """
    if dataset is None:
        if args.eval_strategy != "no" or args.eval_on_start:
            raise BadInputError("`eval_strategy` asks for evaluations, but there is no `eval_dataset`. Pass one.")
        return {}
    sets = {
        name: fitting_rows(rows, lambda row: longest_query(row, None, build_query), limit)
        for name, rows in evaluation_sets(dataset, "eval").items()
    }
    for name, rows in sets.items():
        if not rows:
            raise BadInputError(f"No row of `eval_dataset` is usable for {name!r}: see the warning.")
    return sets


def share_of(rows: Sequence[PromptRow], num_samples: int, rank: int, num_processes: int) -> list[EvalItem]:
    """
    Items of one process.

    All processes get the same number, so that under sharded parameters nobody waits for forward passes that never
    come. What is missing at the end is filled up from the beginning.

    Args:
        rows (`Sequence[PromptRow]`):
            Rows to evaluate.
        num_samples (`int`):
            Completions per row.
        rank (`int`):
            Number of this process.
        num_processes (`int`):
            Processes.

    Returns:
        `list[EvalItem]`
    """
    total = len(rows) * num_samples
    size = -(-total // num_processes)
    places = range(rank * size, (rank + 1) * size)
    return [EvalItem(place % total, rows[place % total // num_samples], place < total) for place in places]


def rollout_samples(rollout: Rollout) -> list[Sample]:
    """Samples of a rollout."""
    rows = zip(
        rollout.completions, rollout.generation.lengths.tolist(), rollout.generation.stopped.tolist(), strict=True
    )
    return [
        Sample(
            task_id=completion.start.row.task_id,
            number=completion.start.number,
            completion=completion.text,
            program=completion.program.text,
            tests=completion.start.row.tests,
            num_tokens=length,
            stopped=stopped,
        )
        for completion, length, stopped in rows
    ]


def feedback_of(samples: Sequence[EvaluatedSample]) -> Feedback:
    """Executions of evaluated samples, and the number of programs that the sandbox failed to run."""
    errors = [sample.error for sample in samples if sample.error]
    return Feedback(tuple(sample.execution for sample in samples), len(errors), first_error=next(iter(errors), ""))


class Evaluator:
    """
    Evaluates the policy of a trainer, from scratch.

    Args:
        args ([`StepCoderPPOConfig`]):
            Configuration.
        steps ([`EvaluationSteps`]):
            Steps of the trainer.
        runner ([`ProgramRunner`]):
            Runs the programs.
        accelerator ([`~accelerate.Accelerator`]):
            Knows the processes.
        stop_token_id (`int` or `None`):
            Token that ends a completion.
    """

    def __init__(
        self,
        args: StepCoderPPOConfig,
        steps: EvaluationSteps,
        runner: ProgramRunner,
        accelerator: Accelerator,
        stop_token_id: int | None,
    ) -> None:
        self.args, self.steps, self.runner = args, steps, runner
        self.accelerator, self.stop_token_id = accelerator, stop_token_id

    def sampling(self, temperature: float | None = None) -> SamplingConfig:
        """Sampling of an evaluation, at `eval_temperature` unless one is given."""
        args = self.args
        length = args.eval_response_length or args.response_length
        warmth = args.eval_temperature if temperature is None else temperature
        return SamplingConfig(length, warmth, args.eval_top_p, self.stop_token_id)

    def items(self, rows: Sequence[PromptRow], num_samples: int) -> list[EvalItem]:
        """Items of this process."""
        return share_of(rows, num_samples, self.accelerator.process_index, self.accelerator.num_processes)

    def evaluate_rows(self, rows: Sequence[PromptRow]) -> Evaluation:
        """Evaluate one set of problems. Returns the samples of all processes in their order."""
        items = self.items(rows, self.args.eval_num_generations)
        judged = (sample for batch in self.judge(items) for sample in batch.samples)
        samples = [sample for item, sample in zip(items, judged, strict=True) if item.counts]
        return Evaluation(tuple(gather_object(samples)))

    def measure(
        self,
        sets: Mapping[str, Sequence[PromptRow]],
        evaluate_rows: Callable[[Sequence[PromptRow]], Evaluation],
        during_training: bool,
    ) -> dict[str, float]:
        """
        Measure pass@k and more on some sets.

        Args:
            sets (`Mapping[str, Sequence[PromptRow]]`):
                Rows by prefix of their metrics.
            evaluate_rows (`Callable`):
                Evaluates one of them.
            during_training (`bool`):
                Whether a run is under way.

        Returns:
            `dict[str, float]`: The same on every process.
        """
        budgets = sorted({1, self.args.eval_num_generations, *(self.args.eval_pass_at or ())})
        metrics: dict[str, float] = {}
        with self.executor_closed_again(during_training):
            for prefix, rows in sets.items():
                begun_s = time.perf_counter()
                measured = evaluate_rows(rows).metrics(budgets)
                measured["runtime"] = time.perf_counter() - begun_s
                metrics.update({f"{prefix}_{name}": value for name, value in measured.items()})
        return metrics

    def judge(self, items: Sequence[EvalItem], temperature: float | None = None) -> list[Judged]:
        """Generate batch by batch while the programs of earlier batches run, then collect and score."""
        rollouts: list[Rollout] = []

        def draw() -> Iterator[list[Sample]]:
            for batch in split_batches(items, self.args.per_device_eval_batch_size):
                self.steps.check_signals()
                starts = (Start(one.row, None, self.steps.build_query(one.row, ""), one.number) for one in batch)
                rollouts.append(self.steps.generate_rollout(tuple(starts), self.sampling(temperature)))
                yield rollout_samples(rollouts[-1])

        with seeded(self.args.seed + self.accelerator.process_index):
            # An executor is made for the first program: rows without tests need none.
            evaluation = score_samples(draw(), lambda program, tests: self.runner.executor.submit(program, tests))
            samples = iter(evaluation.samples)
            batches = [(rollout, tuple(islice(samples, len(rollout.completions)))) for rollout in rollouts]
            self.steps.check_infrastructure(*(feedback_of(batch) for _, batch in batches))
            return [self._judged(rollout, batch) for rollout, batch in batches]

    def _judged(self, rollout: Rollout, samples: Sequence[EvaluatedSample]) -> Judged:
        """Score a batch."""
        feedback = feedback_of(samples)
        scores = self.steps.score_completions(rollout, feedback)
        rows = zip(samples, scores.scores.tolist(), scores.scored.tolist(), strict=True)
        scored_samples = tuple(replace(one, score=score if scored else None) for one, score, scored in rows)
        return Judged(rollout, feedback, scores, scored_samples)

    def show_completions(
        self,
        rows: Sequence[PromptRow],
        most: int | None,
        during_training: bool,
        loss_mask: Callable[[Rollout, Feedback, Scores], torch.Tensor],
        model_scores: Callable[[Rollout], torch.Tensor] | None,
    ) -> None:
        """
        Print completions of some rows, from scratch, with their results.

        Args:
            rows (`Sequence[PromptRow]`):
                Rows.
            most (`int` or `None`):
                Completions per process, `None` for one of each row.
            during_training (`bool`):
                Whether a run is under way.
            loss_mask (`Callable`):
                Gives the tokens in the policy loss.
            model_scores (`Callable` or `None`):
                Gives the scores of a reward model. With it the likeliest completions are shown in upstream's table.
        """
        items = self.items(rows, num_samples=1)[:most]
        shown: list[Any] = []
        with self.executor_closed_again(during_training):
            for one in self.judge(items, temperature=None if model_scores is None else 0.0):
                if model_scores is None:
                    mask = loss_mask(one.rollout, one.feedback, one.scores)
                    shown += rollout_views(one.rollout, one.feedback, one.scores, mask)
                else:
                    pairs = zip(one.rollout.completions, model_scores(one.rollout).tolist(), strict=True)
                    shown += [(completion.start.query.text, completion.text, score) for completion, score in pairs]
        shown = gather_object([one for one, item in zip(shown, items, strict=True) if item.counts])
        if not self.accelerator.is_local_main_process:
            return
        if model_scores is None:
            print_completions(shown, None, "Completions of the evaluation set")
        else:
            Console().print(completions_table(shown[:COMPLETIONS_SHOWN]))

    @contextmanager
    def executor_closed_again(self, during_training: bool) -> Iterator[None]:
        """Outside training: close an executor that was made in the block, and raise the reason of an interruption."""
        opened = self.runner.current is None
        try:
            yield
        except Interruption as interruption:
            if during_training:
                raise
            raise interruption.reason from None
        finally:
            if opened and not during_training:
                self.runner.close()
