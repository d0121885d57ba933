"""Evaluation of a trainer: pass@k from scratch, the best result so far, completions to look at."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from accelerate.utils import gather_object
from rich.console import Console

from stepcoder_trl.evaluation.results import Evaluation
from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.reports.terminal import completions_table
from stepcoder_trl.steps.programs import Feedback, Runs
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.starts import Start
from stepcoder_trl.trainer._trl import PPOTrainer
from stepcoder_trl.trainer.evaluate import (
    EvalItem,
    best_metric_name,
    eval_budgets,
    eval_sampling,
    evaluated_samples,
    evaluation_sets,
    share_of,
    undisturbed,
)
from stepcoder_trl.trainer.records import Rollout, Scores
from stepcoder_trl.trainer.rollout_log import print_completions, rollout_views
from stepcoder_trl.trainer.signals import Interruption


COMPLETIONS_SHOWN = 5  # as upstream


class Evaluating(PPOTrainer):
    """Part of `StepCoderPPOTrainer`: evaluation while training and on demand."""

    control: Any

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """
        Generate from scratch on an evaluation set, and measure pass@k.

        Leaves the random state as it was. Every process evaluates its share.

        Args:
            eval_dataset (*optional*):
                Rows, or a `dict` of sets by name. `None` takes the trainer's.
            ignore_keys (`list[str]`, *optional*):
                Without effect, upstream's.
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`):
                Prefix of the metrics.

        Returns:
            `dict[str, float]`: `eval_pass@1`, `eval_pass@k`, shares of the outcomes, scores, lengths, the same on
            every process. `docs/trainer.md` explains each.

        Raises:
            ValueError: If there is nothing to evaluate on.
            SandboxError: If more programs than `max_infrastructure_error_rate` allows could not be run.
        """
        if eval_dataset is None and metric_key_prefix == "eval" and self.eval_sets:
            sets = self.eval_sets
        else:
            sets = evaluation_sets(self.eval_dataset if eval_dataset is None else eval_dataset, metric_key_prefix)
        metrics: dict[str, float] = {}
        with self._executor_closed_again():
            for prefix, rows in sets.items():
                begun_s = time.perf_counter()
                measured = self.evaluate_rows(rows).metrics(eval_budgets(self.args))
                measured["runtime"] = time.perf_counter() - begun_s
                metrics.update({f"{prefix}_{name}": value for name, value in measured.items()})
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @contextmanager
    def _executor_closed_again(self) -> Iterator[None]:
        """Outside training: close an executor that was made for this, and raise what training would save before."""
        training, opened = self._signals is not None, self.runner.current is None
        try:
            yield
        except Interruption as interruption:
            if training:
                raise
            raise interruption.reason from None
        finally:
            if opened and not training:
                self.runner.close()

    def evaluate_rows(self, rows: Sequence[PromptRow]) -> Evaluation:
        """Samples of all processes for one set of problems, each from scratch, in their order."""
        items = self._eval_items(rows, self.args.eval_num_generations)
        judged = (sample for batch in self._judge(items) for sample in evaluated_samples(*batch))
        samples = [sample for item, sample in zip(items, judged, strict=True) if item.counts]
        return Evaluation(tuple(gather_object(samples)))

    def _eval_items(self, rows: Sequence[PromptRow], num_samples: int) -> list[EvalItem]:
        return share_of(rows, num_samples, self.accelerator.process_index, self.accelerator.num_processes)

    def _judge(
        self, items: Sequence[EvalItem], temperature: float | None = None
    ) -> list[tuple[Rollout, Feedback, Scores]]:
        """Generate from scratch, batch by batch, while the programs of those before run; then collect and score."""
        args, sampling = self.args, eval_sampling(self.args, self.stop_token_id, temperature)
        pending: list[tuple[Rollout, Runs]] = []
        with undisturbed(args.seed + self.accelerator.process_index):
            try:
                for start in range(0, len(items), args.per_device_eval_batch_size):
                    self._heed_signals()
                    batch = items[start : start + args.per_device_eval_batch_size]
                    drawn = (Start(item.row, None, self.build_query(item.row, ""), item.number) for item in batch)
                    rollout = self.generate_rollout(tuple(drawn), sampling)
                    pending.append((rollout, self.submit_programs(rollout)))
                feedback = [self.collect_feedback(runs) for _, runs in pending]
            finally:
                for _, runs in pending:
                    runs.cancel()
            self.check_infrastructure(*feedback)
            return [
                (rollout, one, self.score_completions(rollout, one))
                for (rollout, _), one in zip(pending, feedback, strict=True)
            ]

    def _evaluate_if_due(self) -> None:
        """Evaluate before the first update if that is asked for, or what was broken off when training stopped."""
        if self._evaluation_due:
            self.control.should_evaluate = True
            self._log_and_save()
        elif self.args.eval_on_start and self.state.global_step == 0:
            self.evaluate()

    def _evaluate_and_note_best(self) -> None:
        """Evaluate; what is best so far is to be saved, and stays."""
        self._evaluation_due = True
        metrics = self.evaluate()
        self._evaluation_due = False
        args, state = self.args, self.state
        name = best_metric_name(args, metrics)
        if name is None:
            return
        value, sign = metrics[name], -1 if args.greater_is_better is False else 1
        if state.best_metric is None or sign * value > sign * state.best_metric:
            state.best_metric, state.best_global_step = value, state.global_step
            if args.save_strategy != "no":
                self.control.should_save = True

    def generate_completions(self, sampling: bool = False) -> None:
        """
        Print completions of the evaluation set, from scratch, with their results.

        For rows of upstream's kind with a reward model: the likeliest ones, with its scores, in upstream's table.

        Args:
            sampling (`bool`, *optional*, defaults to `False`):
                Whether to stop after one batch.
        """
        if not self.eval_sets:
            return
        items = self._eval_items([row for rows in self.eval_sets.values() for row in rows], num_samples=1)
        if sampling:
            items = items[: self.args.per_device_eval_batch_size]
        scored = not self.has_problems and self.reward_model is not None
        shown: list[Any] = []
        with self._executor_closed_again():
            for judged in self._judge(items, temperature=0.0 if scored else None):
                shown += self._with_model_scores(*judged) if scored else self._views(*judged)
        shown = gather_object([one for one, item in zip(shown, items, strict=True) if item.counts])
        if self.state.is_local_process_zero and scored:
            Console().print(completions_table(shown[:COMPLETIONS_SHOWN]))
        elif self.state.is_local_process_zero:
            print_completions(shown, None, "Completions of the evaluation set")

    def _views(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> list[RolloutView]:
        return rollout_views(rollout, feedback, scores, self.build_loss_mask(rollout, feedback, scores))

    def _with_model_scores(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> list[tuple[str, str, float]]:
        """Query, completion and the reward model's score."""
        scored = zip(rollout.completions, self.reward_model_scores(rollout).tolist(), strict=True)
        return [(completion.start.query.text, completion.text, score) for completion, score in scored]
