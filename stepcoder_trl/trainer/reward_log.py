"""What reward functions log through `log_metric` and `log_extra`, as in TRL's GRPO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerate.utils import gather_object


class RewardLog:
    """
    Metrics and columns that the reward functions of this process log in an update.

    Attributes:
        columns (`dict[str, list]`): Extra columns of the completions, by name.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {}
        self._metrics: dict[str, list[float]] = {}

    def keywords(self, trainer_state: Any) -> dict[str, Any]:
        """Return the keyword arguments of reward functions beside the columns."""
        return {"trainer_state": trainer_state, "log_extra": self.log_extra, "log_metric": self.log_metric}

    def log_metric(self, name: str, value: float) -> None:
        """Log a metric. Several values are averaged."""
        self._metrics.setdefault(name, []).append(float(value))

    def log_extra(self, column: str, values: Sequence[Any]) -> None:
        """Log a column of the completions, with one value per completion."""
        self.columns.setdefault(column, []).extend(values)

    def metrics(self) -> dict[str, float]:
        """Return the mean of each metric over all processes, which must all call this."""
        values: dict[str, list[float]] = {}
        for one in gather_object([self._metrics]):
            for name, more in one.items():
                values.setdefault(name, []).extend(more)
        return {name: sum(some) / len(some) for name, some in values.items()}
