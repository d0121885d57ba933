"""Evaluation of the policy from scratch, during training and on demand."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from accelerate.utils import gather_object
from rich.console import Console

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import SamplingConfig
from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation
from stepcoder_trl.evaluation.sampling import Sample, seeded, split_batches
from stepcoder_trl.evaluation.scoring import Submitted, collect_samples
from stepcoder_trl.reports.terminal import completions_table
from stepcoder_trl.steps.programs import Feedback, Runs
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import PromptRow, as_rows, fitting_rows, named_sets, read_dataset
from stepcoder_trl.steps.starts import Start, longest_query
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.records import Rollout, Scores
from stepcoder_trl.trainer.rollout_log import print_completions, rollout_views
from stepcoder_trl.trainer.signals import Interruption


if TYPE_CHECKING:
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer

COMPLETIONS_SHOWN = 5  # as upstream


def evaluation_sets(dataset: Any, prefix: str) -> dict[str, list[PromptRow]]:
    """
    Return the rows to evaluate, by the prefix of their metrics: `prefix`, with the name of the set if it has one.

    Raises:
        BadInputError: If there is no dataset, or one without rows.
    """
    if dataset is None:
        raise BadInputError("There is no `eval_dataset`. Pass problems with tests to the trainer, or to `evaluate`.")
    sets = {f"{prefix}_{name}" if name else prefix: rows for name, rows in named_sets(dataset).items()}
    return {name: as_rows(read_dataset(rows, "eval_dataset"), "eval_dataset") for name, rows in sets.items()}


def usable_sets(
    dataset: Any, args: StepCoderPPOConfig, build_query: Callable[[PromptRow, str], Query], limit: float
) -> dict[str, list[PromptRow]]:
    """
    Return the rows of the trainer's `eval_dataset` with queries of at most `limit` tokens, by prefix of their metrics.

    Raises:
        BadInputError: If evaluations are configured without a dataset, or no row of a set fits.
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


def share_of(total: int, rank: int, num_processes: int) -> tuple[list[int], int]:
    """
    Return the indices of the samples of one process, and how many of them count.

    All processes get the same number of samples, because with sharded parameters they wait for each other. The last
    ones are filled up with samples from the beginning, which do not count.
    """
    size = -(-total // num_processes)
    indices = range(rank * size, (rank + 1) * size)
    return [index % total for index in indices], sum(index < total for index in indices)


def rollout_samples(rollout: Rollout) -> list[Sample]:
    """Return the completions of a rollout as samples."""
    lengths, stopped = rollout.generation.lengths.tolist(), rollout.generation.stopped.tolist()
    return [
        Sample(
            task_id=one.start.row.task_id,
            number=one.start.number,
            completion=one.text,
            program=one.program.text,
            tests=one.start.row.tests,
            num_tokens=length,
            stopped=end,
        )
        for one, length, end in zip(rollout.completions, lengths, stopped, strict=True)
    ]


class Evaluator:
    """Evaluates the policy of a trainer, without prefixes of the curriculum."""

    def __init__(self, trainer: StepCoderPPOTrainer) -> None:
        # A strong reference would keep a dropped trainer, with its models, until the next garbage collection.
        self.trainer: StepCoderPPOTrainer = weakref.proxy(trainer)

    def sampling(self, temperature: float | None = None) -> SamplingConfig:
        """Return the sampling settings, with `eval_temperature` by default."""
        args = self.trainer.args
        length = args.eval_response_length or args.response_length
        temperature = args.eval_temperature if temperature is None else temperature
        return SamplingConfig(length, temperature, args.eval_top_p, self.trainer.stop_token_id)

    def starts(self, rows: Sequence[PromptRow], num_samples: int) -> tuple[list[Start], int]:
        """Return the starts of this process, and how many of them count."""
        process = self.trainer.accelerator
        indices, num_counted = share_of(len(rows) * num_samples, process.process_index, process.num_processes)
        drawn = [(rows[index // num_samples], index) for index in indices]
        return [Start(row, None, self.trainer.build_query(row, ""), index) for row, index in drawn], num_counted

    def evaluate_rows(self, rows: Sequence[PromptRow]) -> Evaluation:
        """Evaluate one set of problems. Returns the samples of all processes, in order."""
        starts, num_counted = self.starts(rows, self.trainer.args.eval_num_generations)
        samples, batches = self.judge(starts)
        scores = [score for *_, batch_scores in batches for score in batch_scores.tolist()]
        scored = [replace(sample, score=score) for sample, score in zip(samples, scores, strict=True)]
        return Evaluation(tuple(gather_object(scored[:num_counted])))

    def sets(self, dataset: Any, prefix: str) -> dict[str, list[PromptRow]]:
        """Return the rows to evaluate, by the prefix of their metrics. `None` means the trainer's `eval_dataset`."""
        usable = self.trainer.eval_sets
        if dataset is None and prefix == "eval" and usable:
            return usable
        return evaluation_sets(self.trainer.eval_dataset if dataset is None else dataset, prefix)

    def measure(self, sets: Mapping[str, Sequence[PromptRow]]) -> dict[str, float]:
        """Compute the metrics of evaluation sets, which are named by the prefix of their metrics."""
        args = self.trainer.args
        budgets = sorted({1, args.eval_num_generations, *(args.eval_pass_at or ())})
        metrics: dict[str, float] = {}
        with self.executor_closed_again():
            for prefix, rows in sets.items():
                begun_s = time.perf_counter()
                measured = self.trainer.evaluate_rows(rows).metrics(budgets)
                measured["runtime"] = time.perf_counter() - begun_s
                metrics.update({f"{prefix}_{name}": value for name, value in measured.items()})
        return metrics

    def judge(
        self, starts: Sequence[Start], temperature: float | None = None
    ) -> tuple[tuple[EvaluatedSample, ...], list[tuple[Rollout, Feedback, Scores]]]:
        """Generate batch by batch while the programs of earlier batches run, then collect and score."""
        trainer = self.trainer
        pending: list[tuple[Rollout, Runs]] = []

        def submitted() -> Iterator[Submitted]:
            for batch in split_batches(starts, trainer.args.per_device_eval_batch_size):
                trainer.check_signals()
                rollout = trainer.generate_rollout(tuple(batch), self.sampling(temperature))
                pending.append((rollout, trainer.submit_programs(rollout)))
                yield from zip(rollout_samples(rollout), pending[-1][1].futures, strict=True)

        with seeded(trainer.args.seed + trainer.accelerator.process_index):
            samples = collect_samples(submitted()).samples
            feedback = [trainer.collect_feedback(runs) for _, runs in pending]
            trainer.check_infrastructure(*feedback)
            executions = [execution for one in feedback for execution in one.executions]
            # A trainer may override what counts as the execution.
            pairs = zip(samples, executions, strict=True)
            samples = tuple(replace(sample, execution=execution) for sample, execution in pairs)
            rollouts = [rollout for rollout, _ in pending]
            scored = zip(rollouts, feedback, strict=True)
            return samples, [(rollout, one, trainer.score_completions(rollout, one)) for rollout, one in scored]

    def show_completions(self, rows: Sequence[PromptRow], most: int | None, by_reward_model: bool) -> None:
        """
        Print one completion of each row with its result, at most `most` per process.

        `by_reward_model` prints the likeliest completions with their scores, in upstream's table.
        """
        trainer = self.trainer
        starts, num_counted = self.starts(rows, num_samples=1)
        shown: list[Any] = []
        with self.executor_closed_again():
            _, batches = self.judge(starts[:most], temperature=0.0 if by_reward_model else None)
            for rollout, feedback, scores in batches:
                if by_reward_model:
                    pairs = zip(rollout.completions, trainer.reward_model_scores(rollout).tolist(), strict=True)
                    shown += [(completion.start.query.text, completion.text, score) for completion, score in pairs]
                else:
                    mask = trainer.build_loss_mask(rollout, feedback, scores)
                    shown += rollout_views(rollout, feedback, scores, mask)
        shown = gather_object(shown[:num_counted])
        if not trainer.accelerator.is_local_main_process:
            return
        if by_reward_model:
            Console().print(completions_table(shown[:COMPLETIONS_SHOWN]))
        else:
            print_completions(shown, None, "Completions of the evaluation set")

    @contextmanager
    def executor_closed_again(self) -> Iterator[None]:
        """Outside training, close an executor that is made in the block, and raise the reason of an interruption."""
        runner, training = self.trainer.runner, self.trainer.signals is not None
        opened = runner.current is None
        try:
            yield
        except Interruption as interruption:
            if training:
                raise
            raise interruption.reason from None
        finally:
            if opened and not training:
                runner.close()
