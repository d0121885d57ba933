"""
Everything that is taken from TRL's non-public modules, and the range of releases that have it.

`PPOTrainer` lives in `trl.experimental.ppo` up to TRL 1.12. TRL 1.13 removed it
(https://github.com/huggingface/trl/pull/7020): from there on a parent of our own takes its place. Nothing else knows
which of the two it is.
"""

from __future__ import annotations

import importlib.metadata
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from packaging.specifiers import SpecifierSet


SUPPORTED_TRL = SpecifierSet(">=1.0")
WITH_PPO_TRAINER = SpecifierSet("<1.13")


def check_trl_version(installed: str | None) -> str:
    """
    Refuse a TRL that does not have what the trainer builds on.

    Args:
        installed (`str` or `None`):
            Installed version, `None` when TRL is not installed.

    Returns:
        `str`: The version.

    Raises:
        ImportError: If the version is outside the supported range; the message names the range and the command.
    """
    fix = "Run `pip install 'trl>=1.0'`."
    if installed is None:
        raise ImportError(f"stepcoder-trl's trainer needs trl>=1.0, but TRL is not installed. {fix}")
    if not SUPPORTED_TRL.contains(installed, prereleases=True):
        raise ImportError(
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


if ships_ppo_trainer(check_trl_version(_installed_trl())):
    with warnings.catch_warnings():
        # Importing `trl.experimental` warns that it may change: the range above is the answer to that.
        warnings.filterwarnings("ignore", message=".*trl.experimental.*")
        from trl.experimental.ppo import PPOConfig, PPOTrainer
else:
    from stepcoder_trl.trainer._parent import PPOConfig, PPOTrainer
from trl import ModelConfig, get_peft_config, get_quantization_config  # noqa: E402 - public, of the same releases
from trl.models.utils import add_hooks, remove_hooks  # noqa: E402


@contextmanager
def renamed_attributes_allowed() -> Iterator[None]:
    """Silence transformers 5.23 about `is_gradient_checkpointing`, which upstream and PEFT read in our name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


class RewardCarrier(torch.nn.Module):
    """
    Stand-in for the reward model that `PPOTrainer.__init__` demands.

    It has what the constructor, and DeepSpeed behind it, read: one frozen parameter and a `config`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.config = types.SimpleNamespace()


__all__ = [
    "ModelConfig",
    "PPOConfig",
    "PPOTrainer",
    "RewardCarrier",
    "add_hooks",
    "check_trl_version",
    "get_peft_config",
    "get_quantization_config",
    "remove_hooks",
    "renamed_attributes_allowed",
    "ships_ppo_trainer",
]
