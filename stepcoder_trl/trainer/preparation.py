"""What the trainer settles before the first update: rewards, rows, sizes, optimizer, sound solutions."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from stepcoder_trl.curriculum import Curriculum, CurriculumConfig
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.rewards import unit_test_reward
from stepcoder_trl.steps.queries import build_query
from stepcoder_trl.steps.rows import PromptRow, collate
from stepcoder_trl.steps.scores import RewardFunc
from stepcoder_trl.steps.solutions import SolutionReport, check_solutions, use_solutions, with_solution
from stepcoder_trl.trainer._trl import PPOTrainer, renamed_attributes_allowed
from stepcoder_trl.trainer.batches import BatchPlan, PromptSampler, plan_batches
from stepcoder_trl.trainer.evaluate import evaluation_sets
from stepcoder_trl.trainer.models import PolicyAndCritic, base_of, disable_dropout, warn_of_lost_steps
from stepcoder_trl.trainer.ppo_config import EOS
from stepcoder_trl.trainer.processes import (
    cast_unsharded,
    configure_deepspeed,
    mixed_precision,
    precision_for_accelerate,
)


logger = logging.getLogger(__name__)


def check_training_set(train_dataset: Any) -> None:
    """
    Refuse a training set that is missing or has no rows.

    Raises:
        BadInputError: If there is nothing to train on.
    """
    if train_dataset is None:
        raise BadInputError("`train_dataset` is missing. Pass problems with tests, or rows with `input_ids`.")
    if len(train_dataset) == 0:
        raise BadInputError("`train_dataset` has no rows. Pass problems with tests, or rows with `input_ids`.")


class Preparation(PPOTrainer):
    """Part of `StepCoderPPOTrainer`: everything that is settled before training."""

    optimizer: Any
    curriculum: Curriculum | None
    _solutions: SolutionReport | None

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
            raise BadInputError("`reward_funcs` is empty. Leave it out for compiler feedback of the tests.")
        if reward_funcs is None and reward_model is None and with_tests < len(self.rows):
            lacking = next(number for number, row in enumerate(self.rows) if row.tests is None)
            raise BadInputError(
                f"Row {lacking} of `train_dataset` has no `tests`, and there is neither `reward_funcs` nor "
                "`reward_model` to score it. Add the column or pass one of them."
            )
        number = len(funcs) + (reward_model is not None)
        weights = [1.0] * number if reward_weights is None else [float(weight) for weight in reward_weights]
        if len(weights) != number:
            raise BadInputError(
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
            rate_of=args.curriculum_rate_of,
            mix_probability=args.curriculum_mix_probability,
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
                raise BadInputError("`eval_strategy` asks for evaluations, but there is no `eval_dataset`. Pass one.")
            return {}
        found = evaluation_sets(dataset, "eval")
        fitting = {name: self._rows_that_fit(rows, model, for_evaluation=True) for name, rows in found.items()}
        for name, rows in fitting.items():
            if not rows:
                raise BadInputError(f"No row of `eval_dataset` is usable for {name!r}: see the warning.")
        return fitting

    def _plan(self, num_processes: int) -> BatchPlan:
        """Sizes of the run, with the defaults that depend on the kind of the dataset."""
        if not self.rows:
            raise BadInputError("No row of `train_dataset` is usable: every query is too long, see the warning.")
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
            raise BadInputError("`stop_token` is 'eos', but the tokenizer has no EOS token. Set its `eos_token`.")
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
            with renamed_attributes_allowed(), precision_for_accelerate(mixed_precision(args.bf16, args.fp16)):
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
            cast_unsharded(self.model, mixed_precision(self.args.bf16, self.args.fp16))
        else:
            warn_of_lost_steps(self.model)
        super().create_optimizer_and_scheduler(self.plan.num_updates)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Make the optimizer: one group for the policy, one for the critic, each with its learning rate."""
        if self.optimizer is None:
            cls, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            if {"params", "model", "optimizer_dict"} & kwargs.keys():
                raise BadInputError(
                    f"`optim` is {str(self.args.optim.value)!r}, which picks its parameters itself and knows of one "
                    "learning rate: policy and critic have two here. Choose another, such as 'adamw_torch'."
                )
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

    def check_solutions(self) -> SolutionReport:
        """
        Run each canonical solution once, with ten times its limit, on the main process.

        Returns:
            [`SolutionReport`]: The same on every process.
        """
        found = [SolutionReport()]
        if with_solution(self._given_rows):
            if self.accelerator.is_main_process:
                found = [check_solutions(self._given_rows, self.runner.executor)]
            broadcast_object_list(found)
        return found[0]

    def use_solutions(self, report: SolutionReport) -> None:
        """Take away the solutions that fail, and raise limits, as `check_solutions` found."""
        self._solutions = report
        self.rows = use_solutions(self._given_rows, report)
        if report.failing and self.curriculum is not None:
            before, self.curriculum = self.curriculum, self.build_curriculum(self.rows)
            if self.curriculum is not None:
                state, fresh = before.state_dict(), self.curriculum.state_dict()
                state["problems"].update({task_id: fresh["problems"][task_id] for task_id in report.failing})
                self.curriculum.load_state_dict(state)
