"""Optimizer steps of policy and critic on the experience of an update."""

from __future__ import annotations

import math
from typing import Any

import torch
from accelerate import Accelerator

from stepcoder_trl.trainer.batches import BatchPlan, by_length, join_sequences
from stepcoder_trl.trainer.imitation import run_with_prefixes
from stepcoder_trl.trainer.models import PolicyAndCritic
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.ppo_math import (
    masked_sum,
    policy_loss_terms,
    token_entropy,
    token_log_probs,
    value_loss_terms,
)
from stepcoder_trl.trainer.processes import is_deepspeed
from stepcoder_trl.trainer.records import Experience
from stepcoder_trl.trainer.training_metrics import LossTerms, Totals, add, add_imitation, add_losses


class Learner:
    """Trains policy and critic. While the critic warms up, `trains_policy` is `False`."""

    def __init__(
        self, args: StepCoderPPOConfig, plan: BatchPlan, accelerator: Accelerator, model: Any, optimizer: Any
    ) -> None:
        self.args, self.plan, self.accelerator = args, plan, accelerator
        self.model, self.optimizer = model, optimizer
        self.trains_policy = True

    def discard_gradients(self) -> None:
        """Discard gradients and accumulation steps of an interrupted run or another trainer."""
        accumulation = self.accelerator.gradient_state
        # All accelerators of a process share it: steps and data loaders of another one must not end our accumulation.
        accumulation.plugin_kwargs.update(num_steps=self.plan.accumulation_steps, sync_with_dataloader=False)
        accumulation._set_sync_gradients(True)
        self.accelerator.step = 0
        self.optimizer.zero_grad()

    def update(self, experience: Experience) -> Totals:
        """Train for `num_ppo_epochs` passes, with one optimizer step per mini-batch. Returns sums for the metrics."""
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
        counts = torch.stack([mask.sum() for mask in masks])
        kept, valid = self.accelerator.reduce(counts, "sum").clamp(min=1)
        order = by_length(experience.query_mask[indices], experience.lengths[indices])
        for micro in indices[order].split(self.plan.micro_batch_size):
            with self.accelerator.accumulate(self.model):
                self.backward(experience.select(micro), kept, valid, totals)
                if self.accelerator.sync_gradients:
                    self.clip_gradient(totals)
                self.optimizer.step()
                self.optimizer.zero_grad()

    def backward(
        self, batch: Experience, policy_tokens: torch.Tensor, value_tokens: torch.Tensor, totals: Totals
    ) -> None:
        """
        Add the gradient of one micro-batch, and its losses to the sums for the metrics.

        The losses are divided by the number of tokens of the whole mini-batch, over all processes, and the imitation
        of prefixes by the number of its completions.
        """
        ids, mask = join_sequences(batch)
        outputs = run_with_prefixes(self.model, ids, mask, batch)
        logits, values = outputs.logits, outputs.values
        log_probs = token_log_probs(logits, batch.response_ids, self.args.temperature)
        policy = policy_loss_terms(log_probs, batch.log_probs, batch.advantages, self.args.cliprange)
        value = value_loss_terms(values, batch.values, batch.returns, self.args.cliprange_value)
        policy_loss = masked_sum(policy.loss, batch.loss_mask) / policy_tokens
        value_loss = masked_sum(value.loss, batch.valid_mask) / value_tokens
        trained = policy_loss
        if batch.prefix_lengths is not None:
            completions = self.plan.local_mini_batch_size * self.accelerator.num_processes
            imitation_loss = -outputs.prefix_means.sum() / completions
            trained = trained + self.args.prefix_imitation * imitation_loss
            add_imitation(totals, imitation_loss, outputs.prefix_means, batch.prefix_lengths, self._step_share)
        loss = trained * (1.0 if self.trains_policy else 0.0) + self.args.vf_coef * value_loss
        # Accelerate will divide by the accumulation steps, and the reduction by the processes.
        self.accelerator.backward(loss * self.accelerator.gradient_accumulation_steps * self.accelerator.num_processes)
        entropy = token_entropy(logits.detach(), self.args.temperature)
        add_losses(totals, batch, LossTerms(policy_loss, value_loss, policy, value, entropy), self._step_share)

    @property
    def _step_share(self) -> float:
        """Return the share of a micro-batch in an optimizer step of all processes."""
        return 1 / (self.plan.accumulation_steps * self.accelerator.num_processes)

    def clip_gradient(self, totals: Totals) -> None:
        """Clip the gradient norm of policy and critic together, and add it to the sums for the metrics."""
        if not self.trains_policy and not is_deepspeed(self.accelerator):
            # Without a gradient the optimizer skips the policy: no weight decay, no empty moments.
            policy_and_critic: PolicyAndCritic = self.accelerator.unwrap_model(self.model)
            for parameter in policy_and_critic.policy.parameters():
                parameter.grad = None
        given = self.args.max_grad_norm
        limit = given if given is not None and given > 0 else math.inf  # 0 and -1 do not clip, as in transformers
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        if norm is not None:
            add(totals, "grad_norm", float(norm), 1.0)
