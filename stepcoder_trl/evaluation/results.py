"""Results of an evaluation: samples, pass@k, outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from stepcoder_trl.metrics import pass_at_k
from stepcoder_trl.types import Execution, Outcome


@dataclass(frozen=True)
class EvaluatedSample:
    """One completion and the result of its program. `num_tokens` and `stopped` are those of [`Sample`]."""

    task_id: str
    completion: str
    program: str
    execution: Execution | None  # `None` without tests, or if the sandbox failed to run the program
    error: str = ""  # of the sandbox if it failed to run the program
    num_tokens: int = 0
    stopped: bool = False
    score: float | None = None  # of the reward functions, if there are any

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return self.execution is not None and self.execution.outcome is Outcome.PASSED


@dataclass(frozen=True)
class Evaluation:
    """Samples of an evaluation in the order of the problems, samples of one problem together."""

    samples: tuple[EvaluatedSample, ...]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Number of executed samples `n` and passing samples `c` of each problem."""
        counts = {sample.task_id: (0, 0) for sample in self.samples}
        for sample in self.samples:
            if sample.execution is not None:
                n, c = counts[sample.task_id]
                counts[sample.task_id] = (n + 1, c + sample.passed)
        return counts

    @property
    def pass_at_1(self) -> float:
        """Mean over the problems of the share of passing samples. 0 without an executed sample."""
        return self.pass_at_k(1) or 0.0

    def pass_at_k(self, k: int) -> float | None:
        """Mean of pass@k over the problems with at least `k` executed samples. `None` without such a problem."""
        values = [pass_at_k(n, c, k) for n, c in self.counts().values() if n >= k]
        return fmean(values) if values else None

    @property
    def infrastructure_errors(self) -> int:
        """Number of samples that the sandbox failed to run."""
        return sum(bool(sample.error) for sample in self.samples)

    def metrics(self, ks: Sequence[int] = (1,)) -> dict[str, float]:
        """
        Return `pass@k`, shares of the outcomes, mean score, and mean length of completions.

        A metric without a measurement is left out.
        """
        metrics: dict[str, float] = {}
        for k in ks:
            value = self.pass_at_k(k)
            if value is not None:
                metrics[f"pass@{k}"] = value
        outcomes = Counter(sample.execution.outcome for sample in self.samples if sample.execution is not None)
        if outcomes:
            metrics.update({f"executor/{outcome}": outcomes[outcome] / outcomes.total() for outcome in Outcome})
        if outcomes or self.infrastructure_errors:
            metrics["executor/infrastructure_errors"] = self.infrastructure_errors
        scores = [sample.score for sample in self.samples if sample.score is not None]
        if scores:
            metrics["objective/scores"] = fmean(scores)
        if self.samples:
            metrics["completions/mean_length"] = fmean(sample.num_tokens for sample in self.samples)
            metrics["completions/stopped"] = fmean(sample.stopped for sample in self.samples)
        return metrics
