"""Chooses the stage at which each problem is sampled, in one of the modes."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepcoder_trl.curriculum.adaptive import Revealed
from stepcoder_trl.curriculum.config import CurriculumConfig, check
from stepcoder_trl.curriculum.cut import Stage
from stepcoder_trl.curriculum.paper import Staged
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import write_json


_STATE_VERSION = 1


def _start(config: CurriculumConfig, problems: Mapping[str, tuple[str, str]]) -> Staged | Revealed:
    """Return the progress at the beginning of training, in the mode of the configuration."""
    match config.mode:
        case "paper":
            return Staged(config, problems)
        case "mix":
            return Staged(config, problems, config.mix_probability)
        case "adaptive":
            return Revealed(config, problems)
        case "off":
            # A problem without a solution has no stage but scratch.
            return Staged(config, dict.fromkeys(problems, ("", "")))


class Curriculum:
    """
    Stage of each problem, and the stage at which it is drawn next. [`CurriculumConfig`] names the modes.

    Equal calls give equal states: processes that apply the same updates in the same order stay identical.

    Args:
        config ([`CurriculumConfig`]):
            Mode and thresholds.
        problems (`Mapping[str, tuple[str, str]]`):
            `(canonical_solution, starter_code)` of each problem by its `task_id`. A problem with an empty solution has
            no stage but scratch.
    """

    def __init__(self, config: CurriculumConfig, problems: Mapping[str, tuple[str, str]]) -> None:
        self.config = config
        self._lengths = {task_id: len(solution) for task_id, (solution, _) in problems.items()}
        self._progress = _start(config, problems)

    def stages(self, task_id: str) -> list[Stage]:
        """Return all stages of a problem, from the first of training to scratch."""
        return list(self._progress.stages[task_id])

    def stage(self, task_id: str) -> int:
        """Return the number of a problem's current stage. In `adaptive` it is at the middle of the interval."""
        return self._progress.current(task_id).stage

    def pass_rate(self, task_id: str) -> float:
        """Return the moving average of the share of passing samples of a problem."""
        return self._progress.pass_rate(task_id)

    def draw(self, task_id: str, step: int) -> Stage:
        """
        Return the stage at which a problem is sampled at a step.

        It depends only on the state, the seed, the problem and the step, so that all processes draw the same.
        """
        return self._progress.draw(task_id, random.Random(f"{self.config.seed}|{step}|{task_id}"))

    def update(self, task_id: str, stage: int | Stage, share: float | None) -> None:
        """
        Update the state of a problem with the results of a group of samples.

        Args:
            task_id (`str`):
                Problem.
            stage (`int` or [`Stage`]):
                Stage at which the group was drawn. Ignored unless it is the problem's current one; `adaptive` takes
                any.
            share (`float` or `None`):
                Fraction of the scored samples that passed, in [0, 1]. `None` means that no sample was scored, and is
                ignored.

        Raises:
            BadInputError: If the share is not a fraction.
        """
        if share is None:
            return
        check("share", share, 0 <= share <= 1, "in [0, 1]: write 0.5 for 50%")
        self._progress.update(task_id, stage.stage if isinstance(stage, Stage) else stage, share)

    def start_at(self, stages: Mapping[str, int]) -> None:
        """
        Start problems at other stages than their first ones, as [`best_starts`] chooses them.

        Args:
            stages (`Mapping[str, int]`): Number of the stage of each problem that is moved. Its pass rate is 0 then.

        Raises:
            BadInputError: If the mode is `adaptive`, which has no current stage, or a problem has no such stage.
        """
        if isinstance(self._progress, Revealed):
            raise BadInputError("In the mode `adaptive` a problem has an interval, not a stage. Use `paper` or `mix`.")
        self._progress.start_at(stages)

    def summary(self) -> dict[str, float]:
        """
        Return the state of all problems in five numbers.

        - `curriculum/scratch_share`: share of the problems whose current stage is scratch.
        - `curriculum/mean_stage`: mean number of the current stage; 0 is scratch.
        - `curriculum/pass_rate`: mean over problems of the moving average of passing samples.
        - `curriculum/revealed_share`: mean share of the solution's characters in the current prefix.
        - `curriculum/advanced`: moves toward scratch since the beginning, over all problems (`adaptive`: groups that
          lowered the upper end of an interval).

        Means over no problems are 0.

        Returns:
            `dict[str, float]`: The numbers by name.
        """
        current = {task_id: self._progress.current(task_id) for task_id in self._lengths}
        count = max(1, len(current))
        revealed = (len(stage.prefix) / max(1, self._lengths[task_id]) for task_id, stage in current.items())
        return {
            "curriculum/scratch_share": sum(stage.stage == 0 for stage in current.values()) / count,
            "curriculum/mean_stage": sum(stage.stage for stage in current.values()) / count,
            "curriculum/pass_rate": sum(map(self.pass_rate, current)) / count,
            "curriculum/revealed_share": sum(revealed) / count,
            "curriculum/advanced": float(self._progress.advanced),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state as values that JSON can hold."""
        config = self.config
        head = {"version": _STATE_VERSION, "mode": config.mode, "kinds": config.kinds}
        return head | self._progress.state_dict()

    def digest(self) -> str:
        """Return a digest of the state. Equal digests mean equal stages and pass rates of all problems."""
        return hashlib.sha256(json.dumps(self.state_dict()).encode()).hexdigest()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the state by a saved one, or raise a `BadInputError` if it does not fit. Nothing changes then."""
        for name, expected in (("version", _STATE_VERSION), ("mode", self.config.mode), ("kinds", self.config.kinds)):
            if state.get(name) != expected:
                raise BadInputError(f"Curriculum state: `{name}` is {state.get(name)!r}, but must be {expected!r}.")
        try:
            other = sorted(state["problems"].keys() ^ self._lengths.keys())
            if other:
                raise BadInputError(
                    f"{len(other)} problems are only in the state or only in the data, such as `{other[0]}`."
                )
            self._progress.load_state_dict(state)
        except BadInputError as error:
            raise BadInputError(f"Curriculum state: {error} Resume with the data that it was saved with.") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadInputError(f"Curriculum state: damaged ({error!r}). Use one that `save` wrote.") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state as JSON. The file is never seen half-written."""
        write_json(path, self.state_dict(), indent=None)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace the state by that of a file that `save` wrote. Error messages name the file."""
        try:
            state = json.loads(Path(path).read_text(encoding="utf-8"))
            self.load_state_dict(state)
        except (ValueError, AttributeError) as error:
            raise BadInputError(f"{os.fspath(path)}: {error}") from error
