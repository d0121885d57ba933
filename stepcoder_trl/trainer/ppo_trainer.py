"""PPO trainer with compiler feedback, a curriculum of completion subtasks and an execution-masked loss."""

from __future__ import annotations

import copy
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from peft import PeftConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_utils import TrainOutput

from stepcoder_trl.evaluation.generation import SamplingConfig, generate
from stepcoder_trl.evaluation.process_group import leave_gloo_at_exit
from stepcoder_trl.executor import Backend, ExecutorConfig
from stepcoder_trl.masking import MaskRule
from stepcoder_trl.steps.masks import error_masks, loss_masks
from stepcoder_trl.steps.padding import pad_masks
from stepcoder_trl.steps.programs import Feedback, ProgramRunner, Runs, too_many_failures
from stepcoder_trl.steps.queries import Query, build_query
from stepcoder_trl.steps.rows import PromptRow, as_rows, keep_rows
from stepcoder_trl.steps.scores import (
    RewardFunc,
    call_reward,
    checked_scores,
    combine_scores,
    reward_columns,
    reward_name,
)
from stepcoder_trl.steps.starts import Start, draw_starts, has_passed, read_completions, report_shares
from stepcoder_trl.trainer import checkpoints
from stepcoder_trl.trainer._trl import RewardCarrier
from stepcoder_trl.trainer.batches import by_length, micro_batches
from stepcoder_trl.trainer.bookkeeping import Bookkeeping
from stepcoder_trl.trainer.evaluating import Evaluating
from stepcoder_trl.trainer.models import build_critic, build_reference, head_outputs, response_logits
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig, options_without_effect
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
from stepcoder_trl.trainer.preparation import Preparation, check_training_set
from stepcoder_trl.trainer.processes import (
    check_identical,
    check_processes,
    gathered_for_generation,
    mixed_precision,
    num_cores_per_process,
    quiet_unless_first,
)
from stepcoder_trl.trainer.records import Experience, Rewards, Rollout, Scores, TokenScores
from stepcoder_trl.trainer.rollout_log import rollout_views
from stepcoder_trl.trainer.signals import WATCHED, Interruption, StopSignals
from stepcoder_trl.trainer.training_metrics import LossTerms, Totals, add, add_losses, rollout_totals, token_totals


logger = logging.getLogger(__name__)


class StepCoderPPOTrainer(Preparation, Evaluating, Bookkeeping):
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

    reward_model: Any  # set by upstream's constructor

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
        check_training_set(train_dataset)
        quiet_unless_first()
        if idle := options_without_effect(args):
            logger.warning(f"Without effect in this trainer: {', '.join(f'`{name}`' for name in idle)}.")
        self.args = args
        self.processing_class = processing_class
        workers = args.executor_workers or num_cores_per_process()
        self.runner = ProgramRunner(executor, ExecutorConfig(num_workers=workers, timeout_s=args.test_timeout_s))
        self.mask_rule = MaskRule(args.fgo, args.fgo_outside_program, args.compile_error_mask, args.seed)
        self.rows = as_rows(train_dataset)
        self.reward_funcs, self.reward_weights = self._choose_rewards(reward_funcs, reward_weights, reward_model)
        self.curriculum = self.build_curriculum(self.rows)
        fitting = self._rows_that_fit(self.rows, model)
        if 0 < len(fitting) < len(self.rows):
            self.curriculum = self.build_curriculum(fitting)
        self.rows = self._given_rows = fitting
        self.plan = self._plan(PartialState().num_processes)
        self.eval_sets = self._eval_sets(eval_dataset, model)
        self._open_books()
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
        leave_gloo_at_exit()
        if self.is_deepspeed_enabled:
            # The optimizer that steps may be another one, made in the place of ours: with offloading it is.
            self.lr_scheduler.optimizer = self.optimizer.optimizer
        self.train_dataset = train_dataset
        self.data_collator = data_collator or keep_rows  # upstream's pads, for its evaluation
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self._schedule = copy.deepcopy(self.lr_scheduler.state_dict()), rates
        wanted = mixed_precision(args.bf16, args.fp16)
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
                self.runner.close()
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
            checkpoints.set_random_state(self._before_update)
        step = self.state.global_step
        if self._saved_step != step or self._evaluation_due:
            self._save_checkpoint(self.model)
        logger.warning(
            f"Training stops after update {step} of {self.plan.num_updates} ({interruption}). "
            f"{self.args.output_dir}/checkpoint-{step} holds everything; `train(resume_from_checkpoint=True)` goes on."
        )
        self._uploads.wait()

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
        starts = self.draw_samples(rows)
        # 2. generate, and decode the sampled tokens
        rollout = self.generate_rollout(starts)
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

    def draw_samples(self, rows: Sequence[PromptRow]) -> tuple[Start, ...]:
        """Draw a start for each completion. All completions of a problem start at the same place, on every process."""
        first = self.accelerator.process_index * self.plan.local_batch_size
        return draw_starts(rows, self.curriculum, self.state.global_step, self.build_query, first)

    def build_query(self, row: PromptRow, prefix: str) -> Query:
        """Query of a problem: its prompt, then the prefix or else the starter code."""
        if row.token_ids is None:
            return build_query(row.prompt, prefix or row.starter_code, self.processing_class)
        return Query(self.processing_class.decode(row.token_ids), prefix="", token_ids=row.token_ids)

    def generate_rollout(self, starts: tuple[Start, ...], sampling: SamplingConfig | None = None) -> Rollout:
        """Sample a completion per start, as training does unless told otherwise, and find the program in it."""
        args, tokenizer = self.args, self.processing_class
        sampling = sampling or SamplingConfig(args.response_length, args.temperature, args.top_p, self.stop_token_id)
        self.model.eval()
        with self.policy_for_generation() as policy, self.accelerator.autocast():
            generation = generate(
                policy,
                [start.query for start in starts],
                tokenizer,
                sampling,
                args.local_rollout_forward_batch_size,
                share_prompts=args.ds3_gather_for_generation,
            )
        return Rollout(read_completions(starts, generation.completion_ids(), tokenizer), generation)

    @contextmanager
    def policy_for_generation(self) -> Iterator[torch.nn.Module]:
        """Policy, whole, without what only training needs."""
        bare = self.accelerator.unwrap_model(self.model)
        recomputes = bare.is_gradient_checkpointing
        if recomputes:
            bare.gradient_checkpointing_disable()
        try:
            with gathered_for_generation(self.model, bare.policy, self.args.ds3_gather_for_generation):
                yield bare.policy
        finally:
            if recomputes:
                bare.gradient_checkpointing_enable(self.args.gradient_checkpointing_kwargs)

    def submit_programs(self, rollout: Rollout) -> Runs:
        """Start the programs of the rows that have tests."""
        programs = [completion.program.text for completion in rollout.completions]
        return self.runner.submit(programs, [start.row.tests for start in rollout.starts])

    @property
    def executor(self) -> Backend | None:
        """Executor that runs the programs, `None` where none is open."""
        return self.runner.current

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

    def collect_feedback(self, runs: Runs) -> Feedback:
        """Wait for the executions."""
        return self.runner.collect(runs)

    def check_infrastructure(self, *feedback: Feedback) -> None:
        """
        Stop if the sandbox failed to run too many programs. Called by every process.

        Raises:
            Interruption: With the `SandboxError` that says what to do.
        """
        counts = [sum(one.infrastructure_errors for one in feedback), sum(len(one.executions) for one in feedback)]
        errors, programs = self._sum(torch.tensor(counts, device=self.accelerator.device)).tolist()
        limit = self.args.max_infrastructure_error_rate
        if errors > limit * programs:
            messages = gather_object([one.first_error for one in feedback if one.first_error])
            raise Interruption(too_many_failures(errors, programs, limit, messages[0]))

    def score_completions(self, rollout: Rollout, feedback: Feedback) -> Scores:
        """Ask reward functions and reward model, and add up by weight."""
        columns = {**reward_columns(rollout.completions, feedback.executions), "trainer_state": self.state}
        by_source: dict[str, tuple[float | None, ...]] = {}
        for number, func in enumerate(self.reward_funcs):
            name = reward_name(func)
            key = f"{name}_{number}" if name in by_source else name
            by_source[key] = call_reward(func, columns)
        if self.reward_model is not None:
            by_source["reward_model"] = checked_scores("reward_model", self.reward_model_scores(rollout).tolist())
        combined = combine_scores(by_source, self.reward_weights)
        rows = zip(rollout.starts, feedback.executions, combined, strict=True)
        # If the sandbox fails to run a program, its completion is dropped, even if another reward scored it.
        combined = [None if start.row.tests is not None and run is None else score for start, run, score in rows]
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
        scores = torch.zeros(len(rollout.completions), device=rollout.generation.lengths.device)
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
            blamed = error_masks(rollout.completions, feedback.executions)
            padded = pad_masks(blamed, rollout.generation.response_ids)
            rewards = rewards - self.args.error_token_penalty * (padded & scores.scored[:, None])
        if self.args.whiten_rewards:
            used = valid & scores.scored[:, None]
            rewards = masked_whiten(rewards, used, self._sum, shift_mean=False).masked_fill(~valid, 0.0)
        return Rewards(kl, rewards)

    def build_loss_mask(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> torch.Tensor:
        """Tokens that take part in the policy loss: those of lines that ran. Shape `(B, T)`."""
        masks = loss_masks(rollout.completions, feedback.executions, self.mask_rule, self.state.global_step)
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
        like = by_length(experience.query_mask[indices], experience.lengths[indices])
        for micro in indices[like].split(self.plan.micro_batch_size):
            with self.accelerator.accumulate(self.model):
                self.backward(experience.select(micro), kept, valid, totals)
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
        rows = zip(rollout.starts, feedback.executions, scores.scores.tolist(), scores.scored.tolist(), strict=True)
        for start, execution, score, scored in rows:
            passed = has_passed(start, execution, score if scored else None, self.args.curriculum_pass_score)
            results.append((start.row.task_id, 0 if start.stage is None else start.stage.stage, passed))
        report_shares(self.curriculum, gather_object(results))
        check_identical("The curriculum", self.curriculum.digest(), self.accelerator.num_processes)

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
