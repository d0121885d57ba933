"""Measurement of the stages with the sampler of a GRPO trainer."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.steps.starts import Start
from stepcoder_trl.trainer._trl_grpo import changed_upstream
from stepcoder_trl.trainer.grpo_round import Round
from stepcoder_trl.trainer.measured_start import MeasuredStart, Parts


if TYPE_CHECKING:
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer


def measured_start(trainer: StepCoderGRPOTrainer) -> MeasuredStart:
    """Return the measurement of a GRPO trainer."""
    own: StepCoderGRPOTrainer = weakref.proxy(trainer)
    parts = Parts(
        policy=lambda: own.accelerator.unwrap_model(own.model),
        sample=lambda starts: sample_programs(own, starts),
        local_samples=(trainer.args.generation_batch_size or 0) // trainer.accelerator.num_processes,
        is_new=lambda: own.rounds == 0,
    )
    return MeasuredStart(trainer, parts)


def sample_programs(trainer: StepCoderGRPOTrainer, starts: Sequence[Start]) -> Feedback:
    """
    Sample completions as in a round of training, and run their programs. TRL's metrics and counters do not change.

    Every process must call this with as many starts.
    """
    metrics, seen, training = trainer._metrics["train"], trainer.state.num_input_tokens_seen, trainer.model.training
    trainer._metrics["train"] = copy.deepcopy(metrics)
    trainer._round = this = Round(trainer.rounds, True, tuple(starts))
    trainer.model.train()
    try:
        trainer._generate(this.prompts)
        if this.runs is None:
            raise changed_upstream("`_generate` did not call `_generate_single_turn`")
        return trainer.runner.collect(this.runs)
    finally:
        trainer.model.train(training)
        trainer._metrics["train"], trainer.state.num_input_tokens_seen = metrics, seen
        trainer._round = None
