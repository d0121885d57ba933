"""
Names from TRL's non-public modules, and the releases that have them.

TRL 1.13 removed `trl.experimental.ppo` (https://github.com/huggingface/trl/pull/7020). With newer releases the parents
are those of `_parent.py`. Only this module distinguishes the two.
"""

from __future__ import annotations

import importlib.metadata
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from packaging.specifiers import SpecifierSet

from stepcoder_trl.errors import ParentImportError


if TYPE_CHECKING:
    from accelerate import Accelerator


SUPPORTED_TRL = SpecifierSet(">=1.0")
WITH_PPO_TRAINER = SpecifierSet("<1.13")


def check_trl_version(installed: str | None) -> str:
    """Return the installed version of TRL. Raises a `ParentImportError` if it is missing or not supported."""
    fix = "Run `pip install 'trl>=1.0'`."
    if installed is None:
        raise ParentImportError(f"stepcoder-trl's trainer needs trl>=1.0, but TRL is not installed. {fix}")
    if not SUPPORTED_TRL.contains(installed, prereleases=True):
        raise ParentImportError(
            f"stepcoder-trl's trainer needs trl>=1.0, but trl {installed} is installed: it lacks what the trainer "
            f"builds on. {fix}"
        )
    return installed


def ships_ppo_trainer(version: str) -> bool:
    """Whether a release of TRL has `trl.experimental.ppo`."""
    return WITH_PPO_TRAINER.contains(version, prereleases=True)


def _installed_trl() -> str | None:
    try:
        return importlib.metadata.version("trl")
    except importlib.metadata.PackageNotFoundError:
        return None


if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState
    from transformers.trainer_callback import CallbackHandler

    from stepcoder_trl.trainer import _parent

    @dataclass
    class PPOConfig(_parent.PPOConfig):
        """Configuration of the parent, with the types that fields have after `__post_init__`."""

        output_dir: str = ""
        gradient_checkpointing_kwargs: dict[str, Any] | None = None

    class PPOTrainer:
        """Stub of the parent, because TRL and transformers are only partly typed."""

        args: Any
        processing_class: Any
        accelerator: Accelerator
        model: Any
        model_wrapped: Any
        policy_model: Any
        value_model: Any
        ref_model: Any
        reward_model: Any
        model_adapter_name: str | None
        ref_adapter_name: str | None
        train_dataset: Any
        eval_dataset: Any
        data_collator: Callable[..., Any]
        optimizer: Any
        lr_scheduler: Any
        state: TrainerState
        control: TrainerControl
        callback_handler: CallbackHandler
        stop_token_id: int | None
        local_seed: int
        is_deepspeed_enabled: bool
        deepspeed: Any
        hub_model_id: str | None

        def __init__(self, **kwargs: Any) -> None: ...
        def add_callback(self, callback: Any) -> None: ...
        def remove_callback(self, callback: Any) -> None: ...
        def create_optimizer_and_scheduler(self, num_training_steps: int) -> None: ...
        def get_decay_parameter_names(self, model: Any) -> list[str]: ...
        @staticmethod
        def get_optimizer_cls_and_kwargs(args: Any, model: Any = None) -> tuple[Any, dict[str, Any]]: ...
        def is_world_process_zero(self) -> bool: ...
        def log(self, logs: dict[str, float], start_time: float | None = None) -> None: ...
        def push_to_hub(self, *args: Any, **kwargs: Any) -> Any: ...
        def _load_callback_state(self) -> None: ...

elif ships_ppo_trainer(check_trl_version(_installed_trl())):
    with warnings.catch_warnings():
        # Importing `trl.experimental` warns that it may change: the range above excludes such releases.
        warnings.filterwarnings("ignore", message=".*trl.experimental.*")
        from trl.experimental.ppo import PPOConfig, PPOTrainer
else:
    from stepcoder_trl.trainer._parent import PPOConfig, PPOTrainer
from trl.models.utils import add_hooks, remove_hooks  # noqa: E402


__all__ = ["PPOConfig", "PPOTrainer", "add_hooks", "remove_hooks"]


@contextmanager
def renamed_attributes_allowed() -> Iterator[None]:
    """Silence the warnings of transformers 5.23 about old names of gradient checkpointing, which TRL and PEFT use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
        yield


class RewardCarrier(torch.nn.Module):
    """Stand-in for the reward model that upstream's constructor requires, with one frozen parameter for DeepSpeed."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.config = types.SimpleNamespace()
