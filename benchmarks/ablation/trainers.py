"""The trainers of the arms, and what is measured of their updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from benchmarks.ablation.material import Material
from benchmarks.ablation.settings import Arm, Job, Setting
from benchmarks.ways import cpu_of_tree
from stepcoder_trl import (
    CodeExecutor,
    Execution,
    Outcome,
    StepCoderGRPOConfig,
    StepCoderGRPOTrainer,
    StepCoderPPOConfig,
    StepCoderPPOTrainer,
)
from stepcoder_trl.masking import MaskRule, loss_mask
from stepcoder_trl.rewards import REWARDS
from stepcoder_trl.steps.starts import Completion


# Metrics of an update by their names in the results.
_KEPT = {
    "reward_rate": "executor/passed",
    "compile_error": "executor/compile_error",
    "scratch_share": "curriculum/scratch_share",
    "mean_stage": "curriculum/mean_stage",
    "kept_share": "fgo/kept_share",
    "mean_length": "completions/mean_length",
}
_BY_PPO = {"score": "objective/scores", "kl": "objective/kl"}
_BY_GRPO = {
    "score": "reward",
    "all_pass": "groups/all_pass",
    "none_pass": "groups/none_pass",
    "no_spread": "groups/no_spread",
}
_WITHOUT_CURRICULUM = {"curriculum/scratch_share": 1.0, "curriculum/mean_stage": 0.0}
_STEPS = 2  # of the optimizer, in an update


def binary_reward(completions: Sequence[Any], execution: Sequence[Execution | None], **_: Any) -> list[float | None]:
    """Return 1 for a program that passes and 0 for another. `None` where the sandbox failed to run it."""
    return [None if one is None else float(one.outcome is Outcome.PASSED) for one in execution]


def ppo_config(setting: Setting, arm: Arm, seed: int, response_length: int, folder: str) -> StepCoderPPOConfig:
    """Return the configuration of an arm by PPO, with two optimizer steps per update."""
    return StepCoderPPOConfig(
        gradient_accumulation_steps=_STEPS,
        num_mini_batches=_STEPS,
        local_rollout_forward_batch_size=setting.rollouts_per_update,
        max_steps=setting.updates,
        num_train_epochs=setting.updates,
        response_length=response_length,
        **_shared_options(setting, seed, folder),
        **{"num_generations": setting.num_generations, **arm.common, **arm.options},
    )


def grpo_config(setting: Setting, arm: Arm, seed: int, response_length: int, folder: str) -> StepCoderGRPOConfig:
    """
    Return the configuration of an arm by GRPO, with as many completions and optimizer steps per update as by PPO.

    TRL counts optimizer steps. A tiny update is one group.
    """
    options = {**arm.common, **arm.options}
    options["num_generations"] = min(options["num_generations"], setting.rollouts_per_update)
    return StepCoderGRPOConfig(
        steps_per_generation=_STEPS,
        max_steps=_STEPS * setting.updates,
        max_completion_length=response_length,
        **_shared_options(setting, seed, folder),
        **options,
    )


def _shared_options(setting: Setting, seed: int, folder: str) -> dict[str, Any]:
    """Return the options of both trainers. There are no checkpoints."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": setting.rollouts_per_update // _STEPS,
        "test_timeout_s": 1.0,
        "seed": seed,
        "use_cpu": setting.device == "cpu",
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
    }


def make_ppo_trainer(
    job: Job, arm: Arm, material: Material, executor: CodeExecutor, folder: str
) -> StepCoderPPOTrainer:
    """Make the trainer of an arm by PPO. It prints nothing."""
    trainer = StepCoderPPOTrainer(
        ppo_config(job.setting, arm, job.seed, material.response_length, folder),
        material.tokenizer,
        material.model,
        train_dataset=material.training,
        executor=executor,
        reward_funcs=REWARDS[arm.reward] if arm.reward else None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def make_grpo_trainer(
    job: Job, arm: Arm, material: Material, executor: CodeExecutor, folder: str
) -> StepCoderGRPOTrainer:
    """Make the trainer of an arm by GRPO. It prints nothing."""
    trainer = StepCoderGRPOTrainer(
        material.model,
        {"binary": binary_reward}[arm.reward] if arm.reward else None,
        grpo_config(job.setting, arm, job.seed, material.response_length, folder),
        train_dataset=material.training,
        processing_class=material.tokenizer,
        executor=executor,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class Measures(TrainerCallback):
    """
    Metrics of the updates of a trainer. Add it before callbacks whose CPU seconds do not count.

    Attributes:
        steps (`int`): Steps of an update, as the trainer counts them.
        cpu_s (`list[float]`): CPU seconds of each update, of the whole process tree.
        unexecuted (`list[float]`): Share of tokens that FGO would leave out in any arm, of each update.
    """

    def __init__(self, trainer: StepCoderPPOTrainer | StepCoderGRPOTrainer) -> None:
        self.trainer, self.begun_s = trainer, 0.0
        self.cpu_s: list[float] = []
        self.unexecuted: list[float] = []
        self.completions: Sequence[Completion] = ()
        self.executions: Sequence[Execution | None] = ()
        if isinstance(trainer, StepCoderGRPOTrainer):
            self.steps, self.kept = _STEPS, {**_KEPT, **_BY_GRPO}
            trainer.on_round = lambda this: self.see(this.completions, this.executions)
        else:
            self.steps, self.kept = 1, {**_KEPT, **_BY_PPO}
            trainer.on_update = lambda update: self.see(update.rollout.completions, update.feedback.executions)

    def see(self, completions: Sequence[Completion], executions: Sequence[Execution | None]) -> None:
        """Keep the completions of an update until its end."""
        self.completions, self.executions = completions, executions

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock at the beginning of an update."""
        if state.global_step % self.steps == 0:
            self.begun_s = cpu_seconds()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock at the end of an update, and count what did not run."""
        if state.global_step % self.steps == 0:
            self.cpu_s.append(cpu_seconds() - self.begun_s)
            self.unexecuted.append(unexecuted_share(self.completions, self.executions))

    def history(self) -> list[dict[str, float]]:
        """Return the metrics of each update by their names in the results."""
        logged = [
            _WITHOUT_CURRICULUM | entry for entry in self.trainer.state.log_history if "executor/passed" in entry
        ]
        return [
            {
                **{name: round(entry[metric], 6) for name, metric in self.kept.items()},
                "unexecuted_share": round(unexecuted, 6),
                "cpu_s": round(cpu_s, 6),
            }
            for entry, unexecuted, cpu_s in zip(logged, self.unexecuted, self.cpu_s, strict=True)
        ]


def unexecuted_share(completions: Sequence[Completion], executions: Sequence[Execution | None]) -> float:
    """Return the share of the sampled tokens that FGO leaves out."""
    masks = [
        loss_mask(completion.spans, completion.text, completion.program, execution, MaskRule())
        for completion, execution in zip(completions, executions, strict=True)
    ]
    return 1 - sum(map(sum, masks)) / sum(map(len, masks))


def cpu_seconds() -> float:
    """Return the CPU seconds so far of this process and all its descendants."""
    return sum(cpu_of_tree().values())
