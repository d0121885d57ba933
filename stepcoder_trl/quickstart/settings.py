"""Settings of the quickstart and of its trainer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.quickstart.problems import SyntheticConfig
from stepcoder_trl.quickstart.tiny_model import TinyModelConfig
from stepcoder_trl.trainer import StepCoderPPOConfig


if TYPE_CHECKING:
    from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig

TrainerName = Literal["ppo", "grpo"]


@dataclass(frozen=True)
class Sizes:
    """Number of steps, problems and completions, each at least 1."""

    sft_steps: int = 450  # of 32 demonstrations each
    updates: int = 24
    problems: int = 64  # to train on
    heldout: int = 256  # problems that are only evaluated
    prompts_per_update: int = 16
    num_generations: int = 8  # completions per problem and update
    evaluate_every: int = 6  # updates between two evaluations

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise BadInputError(f"`{name}` is {value}, but must be at least 1. Leave it out for the default.")
        if self.prompts_per_update > self.problems:
            raise BadInputError(
                f"`prompts_per_update` is {self.prompts_per_update}, but there are only {self.problems} `problems`. "
                "Lower the one or raise the other."
            )


FULL = Sizes()
FAST = Sizes(
    sft_steps=60, updates=3, problems=8, heldout=16, prompts_per_update=4, num_generations=4, evaluate_every=3
)
PROBLEMS = SyntheticConfig(style="scalar", min_clauses=2, max_clauses=3, min_arms=2, max_arms=3)
MODEL = TinyModelConfig()


@dataclass(frozen=True)
class QuickstartConfig:
    """Settings of the quickstart."""

    out: str = "stepcoder-quickstart"  # run directory; a number is added if it holds a run
    seed: int = 0  # of problems, model, fine-tuning and sampling
    trainer: TrainerName = "ppo"
    sizes: Sizes = FULL
    problems: SyntheticConfig = PROBLEMS  # with the tests of the evaluation
    training_tests: int = 4  # fewer than in the evaluation, so that some lines never run
    model: TinyModelConfig = MODEL
    easy_accuracy: float = 0.85  # share of easy concepts that the demonstrations of fine-tuning have right
    hard_accuracy: float = 0.35
    learning_rate: float = 4e-4
    value_learning_rate: float = 1e-3
    kl_coef: float = 0.05
    num_threads: int = 1  # of PyTorch


def ppo_config(config: QuickstartConfig, output_dir: str, response_length: int) -> StepCoderPPOConfig:
    """
    Return the settings of the trainer.

    The model is 20,000 times smaller than the paper's. Learning rates are therefore higher, completions are sampled
    from the whole distribution, and lambda is 1, so that the score reaches the first token.
    """
    sizes = config.sizes
    completions = sizes.prompts_per_update * sizes.num_generations
    return StepCoderPPOConfig(
        output_dir=output_dir,
        per_device_train_batch_size=completions // 2 if completions % 2 == 0 else completions,
        gradient_accumulation_steps=2 if completions % 2 == 0 else 1,
        num_mini_batches=2 if completions % 2 == 0 else 1,
        local_rollout_forward_batch_size=completions,
        num_generations=sizes.num_generations,
        max_steps=sizes.updates,
        num_train_epochs=sizes.updates,
        response_length=response_length,
        learning_rate=config.learning_rate,
        value_learning_rate=config.value_learning_rate,
        kl_coef=config.kl_coef,
        temperature=1.0,
        top_p=1.0,
        lam=1.0,
        gradient_checkpointing=False,  # the activations of a tiny model fit into memory
        test_timeout_s=1.0,
        seed=config.seed,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )


def grpo_config(config: QuickstartConfig, output_dir: str, response_length: int) -> StepCoderGRPOConfig:
    """Return the settings of the GRPO trainer: those of PPO that it has, too."""
    from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig  # TRL's GRPO imports more than its PPO

    args = ppo_config(config, output_dir, response_length)
    shared = [
        *("output_dir", "per_device_train_batch_size", "gradient_accumulation_steps", "num_generations", "max_steps"),
        *("num_train_epochs", "learning_rate", "temperature", "top_p", "gradient_checkpointing", "test_timeout_s"),
        *("seed", "use_cpu", "bf16", "report_to", "save_strategy", "logging_steps"),
    ]
    options = {name: getattr(args, name) for name in shared}
    return StepCoderGRPOConfig(max_completion_length=response_length, disable_tqdm=True, **options)
