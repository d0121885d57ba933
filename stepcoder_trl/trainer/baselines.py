"""The paper's other systems, on the same trainer: what each rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepcoder_trl.code_match import ppocoder_matches
from stepcoder_trl.rewards import ppocoder_score, rltf_reward
from stepcoder_trl.trainer.rollout import RewardFunc
from stepcoder_trl.types import Execution


def ppocoder_reward(
    completions: Sequence[Any],
    execution: Sequence[Execution | None],
    program: Sequence[str],
    canonical_solution: Sequence[str],
    **columns: Any,
) -> list[float | None]:
    """
    PPOCoder's reward: compiler feedback, syntax-tree match and data-flow match with the canonical solution.

    Args:
        completions (`Sequence`):
            Completions.
        execution (`Sequence[Execution]`):
            Results, `None` where the program could not be run.
        program (`Sequence[str]`):
            Programs that were run.
        canonical_solution (`Sequence[str]`):
            References, a column of the dataset.
        **columns:
            Not used.

    Returns:
        `list[float | None]`: One score per completion, from -1 to 3.

    Source: Shojaee et al., PPOCoder (arXiv:2301.13816).
    """
    return [
        None if result is None else ppocoder_score(result, *ppocoder_matches(text, reference))
        for result, text, reference in zip(execution, program, canonical_solution, strict=True)
    ]


# Name on the command line -> reward function; StepCoder's is the trainer's own.
REWARDS: dict[str, RewardFunc] = {
    "ppocoder": ppocoder_reward,
    "rltf": rltf_reward,
}
