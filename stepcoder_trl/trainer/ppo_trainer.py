"""PPO trainer with compiler feedback, a curriculum of completion subtasks and an execution-masked loss."""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from datasets import Dataset
from peft import PeftConfig, PeftModel
from rich.console import Console
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import TrainOutput

from stepcoder_trl.curriculum import Curriculum, CurriculumConfig
from stepcoder_trl.errors import SandboxError
from stepcoder_trl.evaluation.results import Evaluation
from stepcoder_trl.executor import Backend, CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.jobs import TESTS_PER_PROGRAM_LIMIT
from stepcoder_trl.generation import Query, SamplingConfig, build_query, generate, program_of
from stepcoder_trl.masking import token_texts
from stepcoder_trl.reports.completions import write_completions
from stepcoder_trl.reports.model_card import CardFacts, measured_pass_rates
from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.reports.terminal import completions_table
from stepcoder_trl.rewards import unit_test_reward
from stepcoder_trl.trainer import checkpoint
from stepcoder_trl.trainer._trl import (
    PPOTrainer,
    RewardCarrier,
    renamed_attributes_allowed,
)
from stepcoder_trl.trainer.card import defaults_of, public_name, settings_of, versions, write_card
from stepcoder_trl.trainer.completions import COMPLETIONS, print_completions, rollout_views, send_completions
from stepcoder_trl.trainer.config import EOS, StepCoderPPOConfig
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
from stepcoder_trl.trainer.logs import (
    LossTerms,
    Totals,
    add,
    add_losses,
    rollout_totals,
    summarize,
    token_totals,
)
from stepcoder_trl.trainer.models import (
    PolicyAndCritic,
    base_of,
    build_critic,
    build_reference,
    disable_dropout,
    head_outputs,
    response_logits,
)
from stepcoder_trl.trainer.ppo_math import (
    explained_variance,
    generalized_advantages,
    kl_divergence,
    length_mask,
    masked_sum,
    masked_whiten,
    policy_loss_terms,
    token_entropy,
    token_log_probs,
    token_rewards,
    value_loss_terms,
)
from stepcoder_trl.trainer.processes import (
    check_identical,
    check_processes,
    configure_deepspeed,
    num_cores_per_process,
    quiet_unless_first,
    whole_for_generation,
)
from stepcoder_trl.trainer.rollout import (
    BatchPlan,
    Experience,
    Feedback,
    PromptRow,
    PromptSampler,
    RewardFunc,
    Rewards,
    Rollout,
    Sample,
    Scores,
    TokenScores,
    as_rows,
    by_length,
    call_reward,
    checked_scores,
    collate,
    combine_scores,
    dataset_digest,
    error_masks,
    group_shares,
    keep_rows,
    loss_masks,
    micro_batches,
    pad_masks,
    plan_batches,
    reward_columns,
    reward_name,
)
from stepcoder_trl.trainer.signals import WATCHED, Interruption, StopSignals
from stepcoder_trl.types import Execution, Outcome


logger = logging.getLogger(__name__)

COMPLETIONS_SHOWN = 5  # as upstream


class StepCoderPPOTrainer(PPOTrainer):
    """
    PPO from compiler feedback (StepCoder, arXiv:2402.01391), on TRL's `PPOTrainer`.

    Positional arguments are upstream's, in its order. A dataset of problems with tests trains on compiler feedback; a
    dataset of upstream's kind, with `input_ids`, trains as plain PPO on `reward_model`.

    Args:
        args ([`StepCoderPPOConfig`]):
            Configuration.
        processing_class ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer.
        model ([`~transformers.PreTrainedModel`]):
            Policy.
        ref_model ([`~transformers.PreTrainedModel`], *optional*):
            Reference of the KL penalty. `None` takes a frozen copy of the policy, or the policy without its adapter.
        reward_model ([`~transformers.PreTrainedModel`], *optional*):
            Sequence classifier with one label whose score is added to that of the reward functions.
        train_dataset ([`~datasets.Dataset`] or sequence of [`Problem`] or mappings):
            Problems: `task_id`, `prompt`, `starter_code`, `canonical_solution`, `tests`. Or rows with `input_ids`.
        value_model ([`~transformers.PreTrainedModel`], *optional*):
            Critic: sequence classifier with one label and a head called `score`. `None` makes one from the policy.
        data_collator (`Callable`, *optional*):
            Takes the rows drawn as dictionaries and returns such rows, or padded `input_ids` as upstream's.
        eval_dataset (*optional*):
            Rows as in `train_dataset`, or a `dict` of such sets by name, for `evaluate`.
        optimizers (`tuple`, *optional*):
            Optimizer and learning-rate schedule to use instead of those made here.
        callbacks (`list` of [`~transformers.TrainerCallback`], *optional*):
            Further callbacks.
        peft_config ([`~peft.PeftConfig`], *optional*):
            Adapter to train instead of the whole policy. A critic made here gets one too.
        reward_funcs (`Callable` or `list` of them, *optional*):
            Reward functions with TRL's signature, `def f(completions, **columns) -> list[float | None]`. `prompts`,
            `completion_ids`, `prefix`, `program`, `execution`, `task_id` and every column of the dataset arrive as
            keyword lists. `None` means compiler feedback of the tests.
        reward_weights (`list[float]`, *optional*):
            Weight of each reward function and, last, of the reward model. `None` means 1 each.
        executor ([`Backend`], *optional*):
            Runs the programs; stays open. `None` makes one when it is needed and closes it after training.
    """

    _tag_names = ["trl", "ppo", "stepcoder"]  # noqa: RUF012 - upstream's attribute
    _name = "StepCoder PPO"

    # Set by upstream's constructor.
    state: Any
    control: Any
    optimizer: Any
    reward_model: Any

    def __init__(
        self,
        args: StepCoderPPOConfig,
        processing_class: PreTrainedTokenizerBase,
        model: PreTrainedModel | PeftModel,
        ref_model: PreTrainedModel | None = None,
        reward_model: PreTrainedModel | None = None,
        train_dataset: Any = None,
        value_model: PreTrainedModel | None = None,
        data_collator: Callable[..., Any] | None = None,
        eval_dataset: Any = None,
        optimizers: tuple[Any, Any] = (None, None),
        callbacks: list[TrainerCallback] | None = None,
        peft_config: PeftConfig | None = None,
        *,
        reward_funcs: RewardFunc | list[RewardFunc] | None = None,
        reward_weights: list[float] | None = None,
        executor: Backend | None = None,
    ) -> None:
        if train_dataset is None:
            raise ValueError("`train_dataset` is missing. Pass problems with tests, or rows with `input_ids`.")
        if len(train_dataset) == 0:
            raise ValueError("`train_dataset` has no rows. Pass problems with tests, or rows with `input_ids`.")
        by_lines = isinstance(executor, CodeExecutor) and executor.config.granularity == "lines"
        if by_lines and args.fgo_granularity == "expressions":
            raise ValueError(
                "`fgo_granularity` is 'expressions', but the `executor` traces lines. Create it with "
                "`ExecutorConfig(granularity='expressions')`, or leave it out."
            )
        quiet_unless_first()
        self.args = args
        self.processing_class = processing_class
        self.executor = executor
        self._owns_executor = executor is None
        self.rows = as_rows(train_dataset)
        self.reward_funcs, self.reward_weights = self._choose_rewards(reward_funcs, reward_weights, reward_model)
        self.curriculum = self.build_curriculum(self.rows)
        fitting = self._rows_that_fit(self.rows, model)
        if 0 < len(fitting) < len(self.rows):
            self.curriculum = self.build_curriculum(fitting)
        self.rows = self._given_rows = fitting
        self._solutions: dict[str, dict[str, Any]] | None = None
        self.plan = self._plan(PartialState().num_processes)
        self.eval_sets = self._eval_sets(eval_dataset, model)
        self._log_history: list[dict[str, float]] = []
        self._completions: list[RolloutView] = []
        self._backend: str | None = None
        self._layers: dict[str, bool] = {}
        self._update_of_weights: int | None = None  # where that is not the number of updates done
        self._signals: StopSignals | None = None
        self._before_update: dict[str, Any] | None = None
        self._evaluation_due = False
        self._saved_step: int | None = None
        if value_model is None:
            value_model = build_critic(model, peft_config, args.seed)
        if ref_model is None and peft_config is None and not isinstance(model, PeftModel):
            ref_model = build_reference(model)
        torch.manual_seed(args.seed)  # of a new adapter: the same in every process, and after a restart
        with self._as_upstream_expects(model):
            super().__init__(
                args=args,
                processing_class=processing_class,
                model=model,
                ref_model=ref_model,
                reward_model=RewardCarrier() if reward_model is None else reward_model,
                train_dataset=self.rows,
                value_model=value_model,
                data_collator=data_collator or (keep_rows if self.has_problems else None),
                eval_dataset=eval_dataset,
                optimizers=optimizers,
                callbacks=callbacks,
                peft_config=peft_config,
            )
        check_processes(self.accelerator)
        if self.is_deepspeed_enabled:
            # The optimizer that steps may be another one, made in the place of ours: with offloading it is.
            self.lr_scheduler.optimizer = self.optimizer.optimizer
        self.train_dataset = train_dataset
        self.data_collator = data_collator or keep_rows  # upstream's pads, for its evaluation
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self._schedule = copy.deepcopy(self.lr_scheduler.state_dict()), rates
        wanted = "bf16" if args.bf16 else "fp16" if args.fp16 else "no"
        if self.accelerator.mixed_precision != wanted:
            logger.warning(
                f"Mixed precision is {self.accelerator.mixed_precision!r}, not {wanted!r}: accelerate's "
                "launcher decided. Give it and `bf16`, `fp16` the same setting."
            )
        if reward_model is None:
            self.reward_model = None
        for module in (self.ref_model, self.reward_model):
            if module is not None:
                module.eval()

    # What happens before training

    def _choose_rewards(
        self,
        reward_funcs: RewardFunc | list[RewardFunc] | None,
        reward_weights: list[float] | None,
        reward_model: Any,
    ) -> tuple[list[RewardFunc], list[float]]:
        """Reward functions, and the weight of each and of the reward model."""
        with_tests = sum(row.tests is not None for row in self.rows)
        if reward_funcs is None:
            funcs: list[RewardFunc] = [unit_test_reward] if with_tests else []
        else:
            funcs = [reward_funcs] if callable(reward_funcs) else list(reward_funcs)
        if not funcs and reward_funcs is not None and reward_model is None:
            raise ValueError("`reward_funcs` is empty. Leave it out for compiler feedback of the tests.")
        if reward_funcs is None and reward_model is None and with_tests < len(self.rows):
            lacking = next(number for number, row in enumerate(self.rows) if row.tests is None)
            raise ValueError(
                f"Row {lacking} of `train_dataset` has no `tests`, and there is neither `reward_funcs` nor "
                "`reward_model` to score it. Add the column or pass one of them."
            )
        number = len(funcs) + (reward_model is not None)
        weights = [1.0] * number if reward_weights is None else [float(weight) for weight in reward_weights]
        if len(weights) != number:
            raise ValueError(
                f"`reward_weights` has {len(weights)} values, but there are {len(funcs)} reward functions and "
                f"{number - len(funcs)} reward models. Pass {number}."
            )
        return funcs, weights

    @property
    def has_problems(self) -> bool:
        """Whether the training set has prompts as text or messages; otherwise it is of upstream's kind."""
        return self.rows[0].token_ids is None

    def build_curriculum(self, rows: Sequence[PromptRow]) -> Curriculum | None:
        """
        Make the curriculum of the training set.

        Args:
            rows (`Sequence[PromptRow]`):
                Training set. A row without a solution, or whose solution is taken away here, starts from scratch.

        Returns:
            [`Curriculum`] or `None`: `None` for a dataset of upstream's kind.
        """
        if rows[0].token_ids is not None:
            return None
        args = self.args
        config = CurriculumConfig(
            mode=args.curriculum,
            kinds=args.curriculum_kinds,
            pass_rate=args.curriculum_pass_rate,
            momentum=args.curriculum_momentum,
            pass_score=args.curriculum_pass_score,
            mix_probability=args.curriculum_mix_probability,
            mix_from=args.curriculum_mix_from,
            seed=args.seed,
        )
        return Curriculum(config, {row.task_id: (row.canonical_solution, row.starter_code) for row in rows})

    def _rows_that_fit(
        self, rows: Sequence[PromptRow], model: PreTrainedModel, for_evaluation: bool = False
    ) -> list[PromptRow]:
        """Rows whose longest query leaves room for the response; the others are named in a warning."""
        limits = [self.args.max_prompt_length or math.inf]
        positions = getattr(base_of(model).config.get_text_config(), "max_position_embeddings", None)
        length = self.args.response_length
        if for_evaluation:
            length = self.args.eval_response_length or length
        if positions is not None:
            limits.append(positions - length)
        measure = self._scratch_query if for_evaluation else self._longest_query
        too_long = {row.task_id for row in rows if measure(row) > min(limits)}
        if too_long:
            names = ", ".join(sorted(too_long)[:10]) + (", ..." if len(too_long) > 10 else "")
            logger.warning(
                f"{len(too_long)} of {len(rows)} problems are left out: their queries have more than {min(limits)} "
                f"tokens ({names}). Raise `max_prompt_length`, lower `response_length`, or use a model with more "
                "positions."
            )
        return [row for row in rows if row.task_id not in too_long]

    def _longest_query(self, row: PromptRow) -> int:
        if self.curriculum is None:
            return len(row.token_ids or ())
        codes = {stage.prefix or row.starter_code for stage in self.curriculum.stages(row.task_id)}
        return max(len(build_query(row.prompt, code, self.processing_class).token_ids) for code in codes)

    def _scratch_query(self, row: PromptRow) -> int:
        return len(self.build_query(row, "").token_ids)

    def _eval_sets(self, dataset: Any, model: PreTrainedModel) -> dict[str, list[PromptRow]]:
        """Rows to evaluate that fit, by prefix of their metrics; empty without a dataset."""
        if dataset is None:
            if self.args.eval_strategy != "no" or self.args.eval_on_start:
                raise ValueError("`eval_strategy` asks for evaluations, but there is no `eval_dataset`. Pass one.")
            return {}
        found = evaluation_sets(dataset, "eval")
        fitting = {name: self._rows_that_fit(rows, model, for_evaluation=True) for name, rows in found.items()}
        for name, rows in fitting.items():
            if not rows:
                raise ValueError(f"No row of `eval_dataset` is usable for {name!r}: see the warning.")
        return fitting

    def _plan(self, num_processes: int) -> BatchPlan:
        """Sizes of the run, with the defaults that depend on the kind of the dataset."""
        if not self.rows:
            raise ValueError("No row of `train_dataset` is usable: every query is too long, see the warning.")
        num_generations = self.args.num_generations or (16 if self.has_problems else 1)
        return plan_batches(self.args, len(self.rows), num_generations, num_processes)

    def _stop_token(self) -> str | None:
        """Stop token of the kind of dataset and of a `stop_token_id`."""
        args = self.args
        if args.stop_token_id is not None:
            return None  # "eos" is the default: an id beats it
        if args.stop_token is EOS and not self.has_problems:
            return None
        if args.stop_token == "eos" and self.processing_class.eos_token_id is None:
            raise ValueError("`stop_token` is 'eos', but the tokenizer has no EOS token. Set its `eos_token`.")
        return args.stop_token

    @contextmanager
    def _as_upstream_expects(self, model: torch.nn.Module) -> Iterator[None]:
        """
        Show upstream's constructor arguments in its own meaning, and undo what it writes.

        It tells the accelerator `gradient_accumulation_steps` where there may be several mini-batches in them, checks
        the batch for `whiten_rewards` per process, and sets the EOS token in the model's generation settings.
        """
        args, plan = self.args, self.plan
        changed: dict[str, Any] = {
            "gradient_accumulation_steps": plan.accumulation_steps,
            "num_mini_batches": 1,
            "whiten_rewards": False,
            "total_episodes": plan.num_updates * plan.batch_size,
            "stop_token": self._stop_token(),
        }
        kept = {name: getattr(args, name) for name in changed}
        base = base_of(model)
        settings, base.generation_config = base.generation_config, copy.deepcopy(base.generation_config)
        for name, value in changed.items():
            setattr(args, name, value)
        try:
            with renamed_attributes_allowed(), _mixed_precision(args):
                yield
        finally:
            base.generation_config = settings
            for name, value in kept.items():
                setattr(args, name, value)
        args.world_size = self.accelerator.num_processes
        args.num_total_batches = plan.num_updates
        args.batch_size, args.local_batch_size = plan.batch_size, plan.local_batch_size
        args.micro_batch_size = plan.micro_batch_size * args.world_size
        args.local_mini_batch_size = plan.local_mini_batch_size
        args.mini_batch_size = plan.local_mini_batch_size * args.world_size

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Put policy and critic into one module, and make its optimizer and schedule. The schedule counts updates."""
        # Called by upstream's constructor between making its wrapper and preparing it: the place to put ours.
        for model in (self.policy_model, self.value_model, self.ref_model, self.reward_model):
            if model is not None:
                disable_dropout(model)
        self.model = PolicyAndCritic(self.policy_model, self.value_model)
        self.model.config = self.policy_model.config
        if self.args.gradient_checkpointing:
            self.model.gradient_checkpointing_enable(self.args.gradient_checkpointing_kwargs)
        if self.accelerator.state.deepspeed_plugin is not None:
            plan = self.plan
            configure_deepspeed(
                self.accelerator, plan.micro_batch_size, plan.accumulation_steps, self.args.max_grad_norm
            )
        super().create_optimizer_and_scheduler(self.plan.num_updates)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Make the optimizer: one group for the policy, one for the critic, each with its learning rate."""
        if self.optimizer is None:
            cls, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = cls(self._parameter_groups(), **kwargs)
        return self.optimizer

    def _parameter_groups(self) -> list[dict[str, Any]]:
        decays = set(self.get_decay_parameter_names(self.model))
        groups = []
        for part, lr in (("policy.", self.args.learning_rate), ("value_model.", self.args.value_learning_rate)):
            named = [(n, p) for n, p in self.model.named_parameters() if n.startswith(part) and p.requires_grad]
            if not self.args.weight_decay:
                groups.append({"params": [p for _, p in named], "lr": lr, "weight_decay": 0.0})
                continue
            for decay in (self.args.weight_decay, 0.0):
                params = [p for n, p in named if (n in decays) == bool(decay)]
                groups.append({"params": params, "lr": lr, "weight_decay": decay})
        return [group for group in groups if group["params"]]

    def get_train_dataloader(self) -> DataLoader:
        """Rows of this process, update by update, from the next one on and without end."""
        sampler = PromptSampler(
            len(self.rows), self.plan, self.accelerator.process_index, self.args.seed, self.state.global_step
        )
        pad = self.processing_class.pad_token_id
        # A generator of its own: iterating must not touch the random state that a checkpoint restores.
        return DataLoader(
            self.rows,
            batch_sampler=sampler,
            collate_fn=lambda rows: collate(rows, self.data_collator, pad),
            generator=torch.Generator(),
        )

    # Training

    def train(self, resume_from_checkpoint: bool | str | os.PathLike[str] | None = None) -> TrainOutput:
        """
        Train.

        Args:
            resume_from_checkpoint (`bool` or path, *optional*):
                Checkpoint to continue from, exactly; `True` takes the newest in `output_dir`.

        Returns:
            [`~transformers.trainer_utils.TrainOutput`]: Number of updates, mean loss, and the last metrics.

        Raises:
            BadInputError: If the checkpoint is not there or does not fit.
        """
        with StopSignals(repeats_end=self.accelerator.num_processes == 1) as self._signals:
            try:
                self._begin(resume_from_checkpoint or None)
                self._signals.at_once = False
                self._evaluate_if_due()
                batches = iter(self.get_train_dataloader())
                while self.state.global_step < self.plan.num_updates and not self.control.should_training_stop:
                    self._heed_signals()
                    rows = next(batches)
                    self._begin_update()
                    metrics = self.train_on(rows)
                    self._end_update(metrics)
                self._heed_signals()
            except Interruption as interruption:
                self._save_interrupted(interruption)
                raise interruption.reason from None
            finally:
                self._signals = None
                self._close_executor()
            return self._end()

    def _heed_signals(self) -> None:
        """Stop on all processes if one of them was asked to. All call it at the same places."""
        if self._signals is not None:
            noted = torch.tensor([self._signals.noted == number for number in WATCHED], device=self.accelerator.device)
            counts = self._sum(noted.long()).tolist()
            self._signals.heed(max(number * bool(count) for number, count in zip(WATCHED, counts, strict=True)))

    def _save_interrupted(self, interruption: Interruption) -> None:
        """Write a checkpoint of the updates that are done; one that was broken off will be done anew."""
        if self._before_update is not None:
            checkpoint.set_random_state(self._before_update)
        step = self.state.global_step
        if self._saved_step != step or self._evaluation_due:
            self._save_checkpoint(self.model)
        logger.warning(
            f"Training stops after update {step} of {self.plan.num_updates} ({interruption}). "
            f"{self.args.output_dir}/checkpoint-{step} holds everything; `train(resume_from_checkpoint=True)` goes on."
        )

    def check_solutions(self) -> dict[str, dict[str, Any]]:
        """
        Run each canonical solution once, with ten times its limit, on the main process.

        Returns:
            `dict`: JSON values, the same on every process. `failing`: outcome of each solution that fails its tests,
            by `task_id`. `timeouts_s`: limit of each problem whose solution needs more than a quarter of its own.
        """
        rows = [row for row in self._given_rows if row.tests is not None and row.canonical_solution.strip()]
        found: list[Any] = [{"failing": {}, "timeouts_s": {}}]
        if rows:
            if self.accelerator.is_main_process:
                found = [self._run_solutions(rows)]
            broadcast_object_list(found)
        checked: dict[str, dict[str, Any]] = found[0]
        return checked

    def _run_solutions(self, rows: Sequence[PromptRow]) -> dict[str, dict[str, Any]]:
        executor = self.get_executor()
        tests = [dict(row.tests or {}) for row in rows]
        limits = [float(one.get("timeout_s", executor.timeout_s)) for one in tests]
        generous = [{**one, "timeout_s": 10 * limit} for one, limit in zip(tests, limits, strict=True)]
        runs = executor.run_many([row.canonical_solution for row in rows], generous, on_error="return")
        failing: dict[str, Any] = {}
        timeouts_s: dict[str, Any] = {}
        for row, limit, run in zip(rows, limits, runs, strict=True):
            if isinstance(run, SandboxError):
                continue  # says nothing about the solution
            # The limit of all tests together is a multiple of that of one.
            longest_s = max([run.time_s / TESTS_PER_PROGRAM_LIMIT, *(test.time_s for test in run.tests)])
            if run.outcome is not Outcome.PASSED:
                failing[row.task_id] = str(run.outcome)
            elif 4 * longest_s > limit:
                timeouts_s[row.task_id] = 4 * longest_s
        if failing:
            names = [f"{task_id} ({outcome})" for task_id, outcome in failing.items()]
            logger.warning(
                f"{len(failing)} of {len(rows)} solutions fail their tests: {', '.join(names[:10])}"
                f"{', ...' if len(names) > 10 else ''}. Their problems get no curriculum. Check solution and tests."
            )
        return {"failing": failing, "timeouts_s": timeouts_s}

    def use_solutions(self, checked: dict[str, dict[str, Any]]) -> None:
        """Take the solutions that fail away from their problems, and raise limits, as `check_solutions` found."""
        self._solutions = checked
        failing, timeouts_s = checked["failing"], checked["timeouts_s"]
        rows = [replace(row, canonical_solution="") if row.task_id in failing else row for row in self._given_rows]
        self.rows = [
            replace(row, tests={**(row.tests or {}), "timeout_s": timeouts_s[row.task_id]})
            if row.task_id in timeouts_s
            else row
            for row in rows
        ]
        if failing and self.curriculum is not None:
            before, self.curriculum = self.curriculum, self.build_curriculum(self.rows)
            if self.curriculum is not None:
                state, fresh = before.state_dict(), self.curriculum.state_dict()
                state["problems"].update({task_id: fresh["problems"][task_id] for task_id in failing})
                self.curriculum.load_state_dict(state)

    def train_on(self, rows: Sequence[PromptRow]) -> dict[str, float]:
        """
        Do one update.

        Args:
            rows (`Sequence[PromptRow]`):
                Problem of each completion of this process.

        Returns:
            `dict[str, float]`: Metrics, over all processes.
        """
        # 1. draw where each problem starts, and build its query
        samples = self.draw_samples(rows)
        # 2. generate, and decode the sampled tokens
        rollout = self.generate_rollout(samples)
        self._heed_signals()  # the longest step is over, and no weight has moved yet
        # 3. hand the programs to the executor
        runs = self.submit_programs(rollout)
        # 4. meanwhile: log-probabilities of policy and reference, values
        tokens = self.score_tokens(rollout)
        # 5. collect the executions
        feedback = self.collect_feedback(runs)
        if self.args.untrusted_passes == "drop":
            feedback = feedback.without_untrusted_passes()
        self.check_infrastructure(feedback)
        # 6. score the completions
        scores = self.score_completions(rollout, feedback)
        # 7. reward each token
        rewards = self.compute_rewards(rollout, tokens, scores, feedback)
        # 8. mask what did not run
        loss_mask = self.build_loss_mask(rollout, feedback, scores)
        # 9. compute advantages and returns
        experience = self.compute_advantages(rollout, tokens, rewards, scores, loss_mask)
        # 10. train policy and critic
        totals = self.update_models(experience)
        # 11. move the curriculum
        self.update_curriculum(rollout, feedback, scores)
        # 12. sum up
        processes, eos = self.accelerator.num_processes, self.processing_class.eos_token_id
        tests = any(row.tests is not None for row in self.rows)
        totals.update(rollout_totals(rollout, feedback, scores, processes, eos, with_tests=tests))
        totals.update(token_totals(tokens, rewards, experience, self.args.kl_coef))
        if self.args.log_completions:
            self._completions = rollout_views(rollout, feedback, scores, loss_mask)
        return self.metrics(totals, experience)

    def draw_samples(self, rows: Sequence[PromptRow]) -> tuple[Sample, ...]:
        """Start and query of each completion. All samples of a problem start at the same place, on every process."""
        first = self.accelerator.process_index * self.plan.local_batch_size
        queries: dict[str, Query] = {}
        samples = []
        for number, row in enumerate(rows, first):
            stage = None
            if self.curriculum is not None:
                stage = self.curriculum.draw(row.task_id, self.state.global_step)
            if row.task_id not in queries:
                queries[row.task_id] = self.build_query(row, stage.prefix if stage is not None else "")
            samples.append(Sample(row, stage, queries[row.task_id], number))
        return tuple(samples)

    def build_query(self, row: PromptRow, prefix: str) -> Query:
        """Query of a problem: its prompt, then the prefix or else the starter code."""
        if row.token_ids is None:
            return build_query(row.prompt, prefix or row.starter_code, self.processing_class)
        return Query(self.processing_class.decode(row.token_ids), prefix="", token_ids=row.token_ids)

    def generate_rollout(self, samples: tuple[Sample, ...], sampling: SamplingConfig | None = None) -> Rollout:
        """Sample a completion per query, as training does unless told otherwise, and find the program in it."""
        args, tokenizer = self.args, self.processing_class
        sampling = sampling or SamplingConfig(args.response_length, args.temperature, args.top_p, self.stop_token_id)
        self.model.eval()
        with self.policy_for_generation() as policy, self.accelerator.autocast():
            queries = [sample.query for sample in samples]
            generation = generate(
                policy,
                queries,
                tokenizer,
                sampling,
                args.local_rollout_forward_batch_size,
                share_prompts=args.ds3_gather_for_generation,
            )
        completions = tuple(token_texts(ids, tokenizer) for ids in generation.completion_ids())
        programs = (program_of(query, text.text) for query, text in zip(queries, completions, strict=True))
        return Rollout(samples, generation, completions, tuple(programs))

    @contextmanager
    def policy_for_generation(self) -> Iterator[torch.nn.Module]:
        """Policy, whole, without what only training needs."""
        bare = self.accelerator.unwrap_model(self.model)
        recomputes = bare.is_gradient_checkpointing
        if recomputes:
            bare.gradient_checkpointing_disable()
        try:
            with whole_for_generation(self.model, bare.policy, self.args.ds3_gather_for_generation):
                yield bare.policy
        finally:
            if recomputes:
                bare.gradient_checkpointing_enable(self.args.gradient_checkpointing_kwargs)

    def submit_programs(self, rollout: Rollout) -> list[Future[Execution] | None]:
        """Start the executions; `None` where a row has no tests."""
        futures: list[Future[Execution] | None] = []
        for sample, program in zip(rollout.samples, rollout.programs, strict=True):
            tests = sample.row.tests
            futures.append(None if tests is None else self.get_executor().submit(program.text, tests))
        self._submitted_s = time.perf_counter()
        self._finished_s = self._submitted_s
        for future in futures:
            if future is not None:
                future.add_done_callback(self._note_finish)
        return futures

    def _note_finish(self, _: Future[Execution]) -> None:
        self._finished_s = max(self._finished_s, time.perf_counter())

    def get_executor(self) -> Backend:
        """Executor given, or one of our own."""
        if self.executor is None:
            config = ExecutorConfig(
                num_workers=self.args.executor_workers or num_cores_per_process(),
                timeout_s=self.args.test_timeout_s,
                granularity=self.args.fgo_granularity,
            )
            self.executor = CodeExecutor(config)
        return self.executor

    def _close_executor(self) -> None:
        if self._owns_executor and self.executor is not None:
            self.executor.close()
            self.executor = None

    @torch.no_grad()
    def score_tokens(self, rollout: Rollout) -> TokenScores:
        """Log-probabilities under policy and reference, and values, by forward passes in micro-batches."""
        self.model.eval()
        temperature, like = self.args.temperature, rollout.generation.response_ids
        scores = TokenScores(*(torch.zeros(like.shape, device=like.device) for _ in range(3)))
        for batch in micro_batches(rollout.generation, self.plan.micro_batch_size):
            ids, mask = batch.sequences()
            length = batch.response_ids.shape[1]
            logits, values = self.model(ids, mask, length)
            log_probs = token_log_probs(logits, batch.response_ids, temperature)
            del logits
            with self.reference_policy() as reference, self.accelerator.autocast():
                ref_logits = response_logits(reference, ids, mask, length)
            ref_log_probs = token_log_probs(ref_logits, batch.response_ids, temperature)
            del ref_logits
            valid = length_mask(batch.lengths, length)
            scores.log_probs[batch.rows, :length] = log_probs.masked_fill(~valid, 0.0)
            scores.ref_log_probs[batch.rows, :length] = ref_log_probs.masked_fill(~valid, 0.0)
            scores.values[batch.rows, :length] = values.masked_fill(~valid, 0.0)
        return scores

    @contextmanager
    def reference_policy(self) -> Iterator[torch.nn.Module]:
        """Reference model, or the policy without its adapter."""
        if self.ref_model is not None:
            yield self.ref_model
            return
        with self.null_ref_context():
            yield self.accelerator.unwrap_model(self.model).policy

    @contextmanager
    def null_ref_context(self) -> Iterator[None]:
        """Switch the policy's adapter off, or to the reference's. Upstream's fails when the model is wrapped."""
        policy = self.accelerator.unwrap_model(self.model).policy
        if self.ref_adapter_name:
            policy.set_adapter(self.ref_adapter_name)
            try:
                yield
            finally:
                policy.set_adapter(self.model_adapter_name or "default")
        else:
            with policy.disable_adapter():
                yield

    def collect_feedback(self, runs: Sequence[Future[Execution] | None]) -> Feedback:
        """Wait for the executions. One that failed for a reason that is ours has no result, and is counted."""
        begun_s = time.perf_counter()
        executions: list[Execution | None] = []
        errors: list[SandboxError] = []
        for run in runs:
            try:
                executions.append(None if run is None else run.result())
            except SandboxError as error:
                executions.append(None)
                errors.append(error)
        if errors:
            logger.warning(f"{len(errors)} programs could not be run and are left out of training: {errors[0]}")
        done = sum(execution is not None for execution in executions)
        if done:
            self._note_backend(self.get_executor())
        took_s = max(self._finished_s - self._submitted_s, 1e-9)
        return Feedback(
            tuple(executions),
            infrastructure_errors=len(errors),
            wait_s=time.perf_counter() - begun_s,
            programs_per_s=done / took_s if done else 0.0,
            first_error=str(errors[0]) if errors else "",
        )

    def check_infrastructure(self, *feedback: Feedback) -> None:
        """
        Stop when too many programs could not be run for a reason that is ours. Called by every process.

        Raises:
            Interruption: With the `SandboxError` that says what to do.
        """
        errors = sum(one.infrastructure_errors for one in feedback)
        programs = sum(len(one.executions) for one in feedback)
        counts = torch.tensor([errors, programs], device=self.accelerator.device)
        errors, programs = self._sum(counts).tolist()
        if errors <= self.args.max_infrastructure_error_rate * programs:
            return
        messages = gather_object([one.first_error for one in feedback if one.first_error])
        reason = SandboxError(
            f"{errors} of {programs} programs could not be run for a reason that is not theirs, more than "
            f"`max_infrastructure_error_rate` {self.args.max_infrastructure_error_rate} allows. One of them: "
            f"{messages[0]} Check free disk space, memory and the number of processes allowed; "
            "`stepcoder-trl selftest` shows whether the sandbox works. No weight was changed by the samples of this "
            "batch: mend it, then resume from the newest checkpoint."
        )
        raise Interruption(reason)

    def score_completions(self, rollout: Rollout, feedback: Feedback) -> Scores:
        """Ask reward functions and reward model, and add up by weight."""
        columns = {**reward_columns(rollout, feedback), "trainer_state": self.state}
        by_source: dict[str, tuple[float | None, ...]] = {}
        for number, func in enumerate(self.reward_funcs):
            name = reward_name(func)
            key = f"{name}_{number}" if name in by_source else name
            by_source[key] = call_reward(func, columns)
        if self.reward_model is not None:
            by_source["reward_model"] = checked_scores("reward_model", self.reward_model_scores(rollout).tolist())
        combined = combine_scores(by_source, self.reward_weights)
        device = rollout.generation.lengths.device
        scored = torch.tensor([score is not None for score in combined], device=device)
        scores = torch.tensor([score or 0.0 for score in combined], device=device)
        if self.args.missing_eos_penalty is not None:
            scores = scores - self.args.missing_eos_penalty * (scored & ~rollout.generation.stopped)
        if self.args.reward_clip is not None:
            scores = scores.clamp(-self.args.reward_clip, self.args.reward_clip)
        return Scores(scores, scored, by_source)

    @torch.no_grad()
    def reward_model_scores(self, rollout: Rollout) -> torch.Tensor:
        """Reward model's score of each query with its completion, at the last valid token. Shape `(B,)`."""
        scores = torch.zeros(len(rollout.samples), device=rollout.generation.lengths.device)
        for batch in micro_batches(rollout.generation, self.plan.micro_batch_size):
            ids, mask = batch.sequences()
            with self.accelerator.autocast():
                outputs = head_outputs(self.reward_model, ids, mask)
            last = batch.query_ids.shape[1] + batch.lengths - 1
            scores[batch.rows] = outputs[torch.arange(len(last), device=last.device), last].float()
        return scores

    def compute_rewards(self, rollout: Rollout, tokens: TokenScores, scores: Scores, feedback: Feedback) -> Rewards:
        """Per token: the KL penalty, that of lines with errors, and at the last valid token the score."""
        lengths = rollout.generation.lengths
        valid = length_mask(lengths, tokens.log_probs.shape[1])
        kl = kl_divergence(tokens.log_probs, tokens.ref_log_probs, self.args.kl_estimator).masked_fill(~valid, 0.0)
        rewards = token_rewards(kl, scores.scores, lengths, self.args.kl_coef)
        if self.args.error_token_penalty:
            blamed = pad_masks(error_masks(rollout, feedback.executions), rollout.generation.response_ids)
            rewards = rewards - self.args.error_token_penalty * (blamed & scores.scored[:, None])
        if self.args.whiten_rewards:
            rewards = masked_whiten(rewards, valid, self._sum, shift_mean=False).masked_fill(~valid, 0.0)
        return Rewards(kl, rewards)

    def build_loss_mask(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> torch.Tensor:
        """Tokens that take part in the policy loss: those of lines that ran. Shape `(B, T)`."""
        masks = loss_masks(rollout, feedback.executions, self.args, self.state.global_step)
        padded = pad_masks(masks, rollout.generation.response_ids)
        return padded & scores.scored[:, None]

    def compute_advantages(
        self, rollout: Rollout, tokens: TokenScores, rewards: Rewards, scores: Scores, loss_mask: torch.Tensor
    ) -> Experience:
        """Advantages over all valid tokens, whitened over the kept ones, and returns."""
        args, generation = self.args, rollout.generation
        valid = length_mask(generation.lengths, loss_mask.shape[1])
        advantages = generalized_advantages(rewards.rewards, tokens.values, valid, args.gamma, args.lam)
        returns = advantages + tokens.values
        if args.whiten_advantages:
            advantages = masked_whiten(advantages, loss_mask, self._sum)
        return Experience(
            query_ids=generation.query_ids,
            query_mask=generation.query_mask,
            response_ids=generation.response_ids,
            lengths=generation.lengths,
            valid_mask=valid & scores.scored[:, None],
            loss_mask=loss_mask,
            log_probs=tokens.log_probs,
            values=tokens.values,
            advantages=advantages,
            returns=returns,
        )

    def update_models(self, experience: Experience) -> Totals:
        """Epochs over the completions, mini-batch by mini-batch: one optimizer step each."""
        self.model.train()
        totals: Totals = {}
        local, size = self.plan.local_batch_size, self.plan.local_mini_batch_size
        for _ in range(self.args.num_ppo_epochs):
            order = torch.randperm(local, device="cpu").to(experience.lengths.device)
            for start in range(0, local, size):
                self.optimizer_step(experience, order[start : start + size], totals)
        return totals

    def optimizer_step(self, experience: Experience, indices: torch.Tensor, totals: Totals) -> None:
        """Accumulate the gradient of one mini-batch, clip it and step."""
        masks = experience.loss_mask[indices], experience.valid_mask[indices]
        kept, valid = self._sum(torch.stack([mask.sum() for mask in masks])).clamp(min=1)
        per = kept if self.args.fgo_denominator == "kept" else valid
        like = by_length(experience.query_mask[indices], experience.lengths[indices])
        for micro in indices[like].split(self.plan.micro_batch_size):
            with self.accelerator.accumulate(self.model):
                self.backward(experience.select(micro), per, valid, totals)
                if self.accelerator.sync_gradients:
                    self._clip_gradient(totals)
                self.optimizer.step()
                self.optimizer.zero_grad()

    def backward(self, batch: Experience, policy_tokens: Any, value_tokens: Any, totals: Totals) -> None:
        """
        Add the gradient of one micro-batch.

        Args:
            batch (`Experience`):
                Micro-batch.
            policy_tokens, value_tokens (`torch.Tensor`):
                Tokens of the whole mini-batch, over all processes, that the two losses are divided by.
            totals (`dict`):
                Sums for the metrics, added to.
        """
        ids, mask = batch.sequences()
        logits, values = self.model(ids, mask, batch.response_ids.shape[1])
        log_probs = token_log_probs(logits, batch.response_ids, self.args.temperature)
        policy = policy_loss_terms(log_probs, batch.log_probs, batch.advantages, self.args.cliprange)
        value = value_loss_terms(values, batch.values, batch.returns, self.args.cliprange_value)
        policy_loss = masked_sum(policy.loss, batch.loss_mask) / policy_tokens
        value_loss = masked_sum(value.loss, batch.valid_mask) / value_tokens
        loss = policy_loss * (0.0 if self._warms_up_critic else 1.0) + self.args.vf_coef * value_loss
        # Undoes the two means that follow: over accumulation steps in `backward`, over processes in the reduction.
        self.accelerator.backward(loss * self.accelerator.gradient_accumulation_steps * self.accelerator.num_processes)
        entropy = token_entropy(logits.detach(), self.args.temperature)
        steps = 1 / (self.plan.accumulation_steps * self.accelerator.num_processes)
        add_losses(totals, batch, LossTerms(policy_loss, value_loss, policy, value, entropy), steps)

    @property
    def _warms_up_critic(self) -> bool:
        return bool(self.state.global_step < self.args.critic_warmup_steps)

    def _clip_gradient(self, totals: Totals) -> None:
        """Clip the norm over policy and critic together, and note it."""
        if self._warms_up_critic and not self.is_deepspeed_enabled:
            # Without a gradient the optimizer passes the policy by: no weight decay, no empty moments.
            for parameter in self.accelerator.unwrap_model(self.model).policy.parameters():
                parameter.grad = None
        limit = self.args.max_grad_norm if self.args.max_grad_norm else math.inf
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        if norm is not None:
            add(totals, "grad_norm", float(norm), 1.0)

    def update_curriculum(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> None:
        """Report each group's share of passing samples; every process applies the same updates in the same order."""
        if self.curriculum is None:
            return
        results = []
        rows = zip(rollout.samples, feedback.executions, scores.scores.tolist(), scores.scored.tolist(), strict=True)
        for sample, execution, score, scored in rows:
            stage = 0 if sample.stage is None else sample.stage.stage
            results.append((sample.row.task_id, stage, self._passed(sample, execution, score if scored else None)))
        for task_id, stage, share in group_shares(gather_object(results)):
            self.curriculum.update(task_id, stage, share)
        check_identical("The curriculum", self.curriculum.digest(), self.accelerator.num_processes)

    def _passed(self, sample: Sample, execution: Execution | None, score: float | None) -> bool | None:
        """Whether a sample passed, `None` when that cannot be said, or when nothing scored it."""
        if score is None:
            return None
        if sample.row.tests is not None:
            return None if execution is None else execution.outcome is Outcome.PASSED
        threshold = self.args.curriculum_pass_score
        return None if threshold is None else score > threshold

    # Metrics

    def metrics(self, totals: Totals, experience: Experience) -> dict[str, float]:
        """Means over all processes, the curriculum's state, and the counters."""
        metrics = self._means(totals)
        metrics["objective/rlhf_reward"] = metrics["objective/non_score_reward"] + metrics["objective/scores"]
        metrics["val/ratio_var"] = max(0.0, metrics["val/ratio_var"] - (metrics["val/ratio"] - 1) ** 2)
        metrics["val/explained_variance"] = explained_variance(
            experience.values, experience.returns, experience.valid_mask, self._sum
        ).item()
        if self.curriculum is not None:
            metrics.update(self.curriculum.summary())
        metrics["lr"] = self.lr_scheduler.get_last_lr()[0]
        return metrics

    def _means(self, totals: Totals) -> dict[str, float]:
        """Numerators over denominators, each added up over all processes; 0 over 0 is 0."""
        device = self.accelerator.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        pairs = torch.tensor(list(totals.values()), device=device, dtype=dtype)
        means = {}
        for name, (numerator, denominator) in zip(totals, self._sum(pairs).tolist(), strict=True):
            means[name] = numerator / denominator if denominator else 0.0
        return means

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over all processes."""
        return self.accelerator.reduce(tensor, "sum")

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
        queries = (sample.query.text for sample in rollout.samples)
        texts = (completion.text for completion in rollout.completions)
        return list(zip(queries, texts, self.reward_model_scores(rollout).tolist(), strict=True))

    # Evaluation

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
        training, opened = self._signals is not None, self.executor is None
        try:
            yield
        except Interruption as interruption:
            if training:
                raise
            raise interruption.reason from None
        finally:
            if opened and not training:
                self._close_executor()

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
        pending: list[tuple[Rollout, list[Future[Execution] | None]]] = []
        with undisturbed(args.seed + self.accelerator.process_index):
            try:
                for start in range(0, len(items), args.per_device_eval_batch_size):
                    self._heed_signals()
                    batch = items[start : start + args.per_device_eval_batch_size]
                    drawn = (Sample(item.row, None, self.build_query(item.row, ""), item.number) for item in batch)
                    rollout = self.generate_rollout(tuple(drawn), sampling)
                    pending.append((rollout, self.submit_programs(rollout)))
                feedback = [self.collect_feedback(runs) for _, runs in pending]
            finally:
                for run in (run for _, runs in pending for run in runs if run is not None):
                    run.cancel()  # what is done is not touched
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

    # Counters, callbacks, logging

    def _begin(self, resume_from_checkpoint: bool | str | os.PathLike[str] | None) -> None:
        """Set up the counters, from a checkpoint if there is one."""
        args, state, plan = self.args, self.state, self.plan
        state.global_step, state.episode, state.epoch = 0, 0, 0.0
        self._discard_interrupted()
        self._tidy_output(resuming=resume_from_checkpoint is not None)
        if resume_from_checkpoint is None and self._solutions is None:
            self.use_solutions(self.check_solutions())
        set_seed(self.local_seed)  # a run is the same whatever was done since the trainer was made
        source = None
        if resume_from_checkpoint is not None:
            source = checkpoint.find_checkpoint(resume_from_checkpoint, args.output_dir)
            self._load_checkpoint(source)
            state = self.state
        else:
            self._restart_schedule()
        state.max_steps = plan.num_updates
        state.num_train_epochs = math.ceil(plan.num_updates / plan.updates_per_epoch)
        state.train_batch_size = args.per_device_train_batch_size
        state.compute_steps(args, plan.num_updates)
        self.control.should_training_stop = False
        self._begun_s, self._begun_at = time.perf_counter(), state.global_step
        if self.is_deepspeed_enabled:
            self.deepspeed = self.model_wrapped = self.model
        self.control = self.callback_handler.on_train_begin(args, state, self.control)
        if resume_from_checkpoint is True and self.accelerator.is_main_process:
            # A run that was killed when it had just saved did not come to this.
            checkpoint.remove_old(args.output_dir, args.save_total_limit, source, state.best_model_checkpoint)
        if source is not None:
            checkpoint.load_random_state(source, self.accelerator)

    def _discard_interrupted(self) -> None:
        """Drop what a run that was interrupted between two optimizer steps, or another trainer, left behind."""
        accumulation = self.accelerator.gradient_state
        # All accelerators of a process share it: neither another's number of steps nor another's loader that stands at
        # its end may end our accumulation.
        accumulation.plugin_kwargs.update(num_steps=self.plan.accumulation_steps, sync_with_dataloader=False)
        accumulation._set_sync_gradients(True)
        self.accelerator.step = 0
        self.optimizer.zero_grad()
        self._log_history = []
        self._before_update, self._saved_step, self._evaluation_due = None, None, False
        self._update_of_weights = None

    def _tidy_output(self, *, resuming: bool) -> None:
        """Clear away what a killed run left half written; a fresh run says so if there are whole checkpoints."""
        if not self.accelerator.is_main_process:
            return
        checkpoint.remove_interrupted(self.args.output_dir)
        found = checkpoint.checkpoints(self.args.output_dir)
        if found and not resuming and self.args.save_strategy != "no":
            logger.warning(
                f"{self.args.output_dir} holds checkpoints of an earlier run, up to {found[-1].name}: this one starts "
                "anew beside them. Pass `resume_from_checkpoint=True` to go on, or choose another `output_dir`: the "
                "newest is the one with the highest number."
            )

    def _restart_schedule(self) -> None:
        """Set the learning rates to those of the first update."""
        schedule, rates = self._schedule
        self.lr_scheduler.load_state_dict(copy.deepcopy(schedule))
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _begin_update(self) -> None:
        position = self.state.global_step % self.plan.updates_per_epoch
        if position == 0 or self.state.global_step == self._begun_at:
            self.control = self.callback_handler.on_epoch_begin(self.args, self.state, self.control)
        self._before_update = checkpoint.random_state()
        self.control = self.callback_handler.on_step_begin(self.args, self.state, self.control)

    def _end_update(self, metrics: dict[str, float]) -> None:
        """Advance the counters and the learning rates, fire the events, and do what they ask for."""
        state = self.state
        self.lr_scheduler.step()
        state.global_step += 1
        self._before_update = None
        state.episode += self.plan.batch_size
        state.epoch = state.global_step / self.plan.updates_per_epoch
        metrics["episode"] = state.episode
        elapsed_s = time.perf_counter() - self._begun_s
        metrics["eps"] = (state.global_step - self._begun_at) * self.plan.batch_size / elapsed_s
        self._log_history.append(metrics)
        self.control = self.callback_handler.on_step_end(self.args, state, self.control)
        self._log_and_save()
        if state.global_step % self.plan.updates_per_epoch == 0:
            self.control = self.callback_handler.on_epoch_end(self.args, state, self.control)
            self._log_and_save()

    def _log_and_save(self) -> None:
        if self.control.should_log:
            self._log_metrics()
        if self.control.should_evaluate:
            self._evaluate_and_note_best()
        if self.control.should_save:
            self._save_checkpoint(self.model)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _log_metrics(self) -> None:
        """Log the updates since the last time."""
        if self._log_history:
            self.log(summarize(self._log_history))
            self._log_history = []
            self._log_completions()

    def _log_completions(self) -> None:
        """Show the completions of the update that is logged, of all processes."""
        if not self.args.log_completions:
            return
        args, update = self.args, self.state.global_step
        rollouts, self._completions = gather_object(self._completions), []
        if self.state.is_local_process_zero:
            print_completions(rollouts, args.num_completions_to_print, f"Completions of update {update}")
        if self.state.is_world_process_zero:
            write_completions(rollouts, update, Path(args.output_dir) / COMPLETIONS)
            send_completions(rollouts, update, args.report_to, self.callback_handler.callbacks)

    def _end(self) -> TrainOutput:
        """Log what is left, go back to the best checkpoint if that is asked for, and fire the last event."""
        self._log_metrics()
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            checkpoint.load_models(Path(self.state.best_model_checkpoint), self.accelerator, self.model)
            self._update_of_weights = self.state.best_global_step
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)
        logged = [entry for entry in self.state.log_history if "loss/policy_avg" in entry]
        losses = [entry["loss/policy_avg"] + self.args.vf_coef * entry["loss/value_avg"] for entry in logged]
        metrics = dict(logged[-1]) if logged else {}
        metrics["train_runtime"] = time.perf_counter() - self._begun_s
        return TrainOutput(self.state.global_step, sum(losses) / max(1, len(losses)), metrics)

    # Saving

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """
        Save policy (or adapter) and tokenizer, the critic in `value_model/`, and the curriculum.

        Args:
            output_dir (`str`, *optional*):
                Directory, `args.output_dir` by default.
        """
        target = Path(output_dir or self.args.output_dir)
        state = self.accelerator.get_state_dict(self.model)  # every process: gathers sharded parameters
        if self.accelerator.is_main_process:
            bare = self.accelerator.unwrap_model(self.model)
            bare.policy.save_pretrained(target, state_dict=_part(state, "policy."))
            bare.value_model.save_pretrained(target / checkpoint.VALUE_MODEL, state_dict=_part(state, "value_model."))
            self.processing_class.save_pretrained(target)
            if self.curriculum is not None:
                self.curriculum.save(target / checkpoint.CURRICULUM)
            write_card(self.card_facts(), target)  # over the one that PEFT writes
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save")

    def create_model_card(
        self,
        model_name: str | None = None,
        dataset_name: str | None = None,
        tags: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Write the model card to `args.output_dir`. Nothing is looked up on the Hub.

        `save_model` and every checkpoint write one by themselves.

        Args:
            model_name (`str`, *optional*):
                Name of the model; by default that of its repository or of `output_dir`.
            dataset_name (`str`, *optional*):
                Name of the training set; by default `training_data_name`.
            tags (`str` or `Sequence[str]`, *optional*):
                Further tags.
            **kwargs:
                Without effect, upstream's.
        """
        if not self.is_world_process_zero():
            return
        facts = self.card_facts()
        facts = replace(
            facts,
            model_name=model_name or facts.model_name,
            training_data=dataset_name or facts.training_data,
            tags=[tags] if isinstance(tags, str) else list(tags or ()),
        )
        target = Path(self.args.output_dir)
        target.mkdir(parents=True, exist_ok=True)
        write_card(facts, target)

    def card_facts(self) -> CardFacts:
        """What a model card says of the weights as they are."""
        args, state = self.args, self.state
        policy = self.accelerator.unwrap_model(self.model).policy
        update = self._update_of_weights if self._update_of_weights is not None else state.global_step
        info = self.train_dataset.info if isinstance(self.train_dataset, Dataset) else None
        return CardFacts(
            model_name=args.hub_model_id or Path(args.output_dir).resolve().name,
            base_model=public_name(base_of(policy).config.name_or_path),
            adapter=isinstance(policy, PeftModel),
            training_data=args.training_data_name,
            training_data_license=args.training_data_license or (info.license if info is not None else None),
            num_problems=len(self.rows),
            update=update,
            num_updates=self.plan.num_updates,
            episodes=update * self.plan.batch_size,
            num_processes=self.accelerator.num_processes,
            pass_rates=measured_pass_rates(state.log_history, update, args.eval_data_name),
            history=state.log_history,
            settings=settings_of(args),
            defaults=defaults_of(args),
            versions=versions(),
            backend=self._backend,
            layers=self._layers,
        )

    def _note_backend(self, executor: Backend) -> None:
        """Remember what runs the programs, and its layers of isolation, where it tells."""
        if self._backend is None:
            from stepcoder_trl.executor import RemoteExecutor  # brings HTTP along, which few need

            self._backend = type(executor).__name__
            if isinstance(executor, CodeExecutor | RemoteExecutor):
                with suppress(SandboxError):  # nothing could be run: the next call may tell
                    self._layers = executor.layers

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any = None) -> None:
        """Write a checkpoint of the current update; it has its name only when it is complete."""
        args, accelerator = self.args, self.accelerator
        path = Path(args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(path)
        with checkpoint.new_directory(path, accelerator.is_main_process, accelerator.wait_for_everyone) as directory:
            self.save_model(str(directory), _internal_call=True)
            if accelerator.is_main_process:
                self._note_callback_states()
                self.state.save_to_json(str(directory / "trainer_state.json"))
            if not args.save_only_model:
                checkpoint.save_training_state(
                    directory, accelerator, self.model, self.optimizer, self.lr_scheduler, self._own_state()
                )
        if accelerator.is_main_process:
            checkpoint.remove_old(args.output_dir, args.save_total_limit, path, self.state.best_model_checkpoint)
        self._saved_step = self.state.global_step

    def _own_state(self) -> dict[str, Any]:
        return {
            "log_history": self._log_history,
            "evaluation_due": self._evaluation_due,
            "solutions": self._solutions,
            **self._settings(),
        }

    def _settings(self) -> dict[str, Any]:
        """What must be the same for a run to be the same when it is resumed."""
        plugin = self.accelerator.state.deepspeed_plugin
        return {
            "dataset": dataset_digest(self._given_rows),
            "num_rows": len(self._given_rows),
            "batch_size": self.plan.batch_size,
            "num_generations": self.plan.num_generations,
            "num_processes": self.accelerator.num_processes,
            "deepspeed": 0 if plugin is None else plugin.zero_stage,
            "seed": self.args.seed,
        }

    def _note_callback_states(self) -> None:
        stateful = [cb for cb in [*self.callback_handler.callbacks, self.control] if isinstance(cb, ExportableState)]
        states: dict[str, Any] = {}
        for callback in stateful:
            states.setdefault(type(callback).__name__, []).append(callback.state())
        self.state.stateful_callbacks = {name: one[0] if len(one) == 1 else one for name, one in states.items()}

    def _load_checkpoint(self, path: Path) -> None:
        """Take over everything but the random state."""
        checkpoint.check_same_run(checkpoint.own_state(path), self._settings())
        own = checkpoint.load_training_state(path, self.accelerator, self.model, self.optimizer, self.lr_scheduler)
        self.use_solutions(own.get("solutions") or self.check_solutions())
        self._log_history = own["log_history"]
        self._evaluation_due = own.get("evaluation_due", False)
        flags = self.state.is_local_process_zero, self.state.is_world_process_zero
        self.state = type(self.state).load_from_json(str(path / "trainer_state.json"))
        self.state.is_local_process_zero, self.state.is_world_process_zero = flags
        self._load_callback_state()
        if self.curriculum is not None:
            self.curriculum.load(path / checkpoint.CURRICULUM)


def _part(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


@contextmanager
def _mixed_precision(args: StepCoderPPOConfig) -> Iterator[None]:
    """Tell the accelerator that upstream makes about `bf16` and `fp16`: it passes nothing on."""
    name = "ACCELERATE_MIXED_PRECISION"
    wanted = "bf16" if args.bf16 else "fp16" if args.fp16 else None
    before = os.environ.get(name)
    if wanted is not None:
        os.environ[name] = wanted
    try:
        yield
    finally:
        if wanted is not None:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before
