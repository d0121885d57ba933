"""
Signal and noise of the policy gradient of GRPO with LoRA, before training.

A batch has problems that are drawn at random, each with a group of completions, from scratch and from the first stage
of its curriculum. The completions of a start give a gradient for each way of credit. So all have equal numbers of
completions, and those of one start the same. The arithmetic is that of `benchmarks.ablation.gradients`.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.ablation.gradients import Products, compare, jackknife, squared_noise, squared_signal
from benchmarks.ablation.report import markdown_table
from benchmarks.real_model.problems import Task
from benchmarks.real_model.sitting import in_time
from benchmarks.real_model.stages import Drawn, Measurement
from stepcoder_trl.evaluation.sampling import split_batches
from stepcoder_trl.jsonl import temporary_path
from stepcoder_trl.masking import MaskRule
from stepcoder_trl.rewards import mean_test_score, scores_of_tests, unit_test_score
from stepcoder_trl.steps.credit import deviations_from_group, tests_credit
from stepcoder_trl.steps.masks import loss_masks
from stepcoder_trl.steps.padding import pad_masks
from stepcoder_trl.steps.starts import Completion
from stepcoder_trl.trainer.ppo_math import token_log_probs
from stepcoder_trl.types import Execution


STARTS: dict[str, Callable[[Task], Any]] = {
    "scratch": lambda task: task.stages[-1],
    "first": lambda task: task.stages[0],
}
# Score by tests, and FGO. The first is the comparison for all.
WAYS = {
    "off": ("worst", "off"),
    "lines": ("worst", "lines"),
    "mean": ("mean", "off"),
    "mean, lines": ("mean", "lines"),
    "mean, tests": ("mean", "tests"),
}
SCORES: dict[str, Callable[[Execution], float]] = {"worst": unit_test_score, "mean": mean_test_score}


FEWEST = 3  # batches of an interval


# Gradients of a batch


def token_weights(drawn: Drawn, size: int, way: str, step: int) -> torch.Tensor:
    """
    Return the weight of each token's log-probability in the objective of GRPO, with the group's mean as the baseline.

    It is the advantage divided by the number of kept tokens, and 0 where a token is left out. A completion whose
    program could not be run has no weight, and no part in the baseline.

    Args:
        drawn ([`Drawn`]): Batch of `B` completions.
        size (`int`): Completions of a group.
        way (`str`): Way of credit, one of `WAYS`.
        step (`int`): Number of the batch.

    Returns:
        `torch.Tensor` of shape `(B, T)`.
    """
    score, fgo = WAYS[way]
    rule, ids = MaskRule(fgo), drawn.generation.response_ids
    scores = [None if run is None else SCORES[score](run) for run in drawn.executions]
    advantages = [value for group in split_batches(scores, size) for value in _from_mean(group)]
    weights = torch.tensor(advantages)[:, None].expand(ids.shape)
    if rule.is_per_test:
        tests = [None if run is None else scores_of_tests(run) for run in drawn.executions]
        deviations = [
            values for group in split_batches(tests, size) for values in deviations_from_group(group, 1.0, 1.0)
        ]
        credit = tests_credit(drawn.completions, drawn.executions, deviations, rule, step, ids)
        weights = weights * credit.shares + credit.deviations
    kept = pad_masks(loss_masks(drawn.completions, drawn.executions, rule, step), ids)
    kept = kept & torch.tensor([run is not None for run in drawn.executions])[:, None]
    return weights * kept / kept.sum().clamp(min=1)


def _from_mean(group: Sequence[float | None]) -> list[float]:
    """Return the deviations of a group's scores from their mean, 0 for a completion without a score."""
    scored = [one for one in group if one is not None]
    return [0.0 if one is None else one - fmean(scored) for one in group]


def gradients(
    model: torch.nn.Module, drawn: Drawn, size: int, temperature: float, step: int
) -> dict[str, torch.Tensor]:
    """
    Return the gradient of the trained parameters by each way of credit, as vectors.

    One completion at a time: its weights by two ways are often equal up to a factor, and then one backward pass serves
    both. A completion without weight, as in a group of equal scores, costs nothing.
    """
    weights = {way: token_weights(drawn, size, way, step) for way in WAYS}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = {way: torch.zeros(sum(map(torch.Tensor.numel, trained))) for way in WAYS}
    for row, completion in enumerate(drawn.completions):
        mine = {way: weights[way][row, : len(completion.token_ids)] for way in WAYS if weights[way][row].any()}
        if not mine:
            continue
        log_probs = _log_probs(model, completion, temperature)
        known: list[tuple[torch.Tensor, torch.Tensor]] = []
        for way, token_weight in mine.items():
            scale = token_weight.abs().max()
            direction = token_weight / scale
            gradient = next((one for other, one in known if torch.allclose(other, direction)), None)
            if gradient is None:
                parts = torch.autograd.grad(direction @ log_probs, trained, retain_graph=True, materialize_grads=True)
                gradient = torch.cat([part.flatten().float() for part in parts])
                known.append((direction, gradient))
            found[way] += scale * gradient
    return found


def _log_probs(model: torch.nn.Module, completion: Completion, temperature: float) -> torch.Tensor:
    """Return the log-probabilities of the tokens of a completion."""
    ids = torch.tensor([completion.token_ids])
    query = torch.tensor([completion.start.query.token_ids])
    outputs = model(input_ids=torch.cat([query, ids], 1), logits_to_keep=ids.shape[1] + 1)
    return token_log_probs(outputs.logits[:, :-1].float(), ids, temperature)[0]


# All batches


@dataclasses.dataclass(frozen=True)
class Probe:
    """
    Settings of the batches.

    Attributes:
        model (`torch.nn.Module`): Policy whose adapter has gradients.
        measurement ([`Measurement`]): What samples and judges.
        temperature (`float`): Temperature of the samples.
        problems (`int`): Problems of a batch.
    """

    model: torch.nn.Module
    measurement: Measurement
    temperature: float
    problems: int

    def batch(self, tasks: Sequence[Task], number: int) -> dict[str, torch.Tensor]:
        """Return the gradients of a batch of new problems by start and way, `"first, lines"`."""
        chosen = random.Random(f"batch {number}").sample(list(tasks), self.problems)
        found = {}
        for start, pick in STARTS.items():
            drawn = self.measurement.draw([(task, pick(task)) for task in chosen], number)
            size = self.measurement.samples
            by_way = gradients(self.model, drawn, size, self.temperature, number)
            found.update({f"{start}, {way}": gradient for way, gradient in by_way.items()})
        return found


def measure_batches(probe: Probe, tasks: Sequence[Task], folder: Path, batches: int, seconds: float) -> Iterator[int]:
    """
    Measure the batches without a file, in order, and write each. Yields their numbers.

    `seconds` is the time of this sitting, see [`in_time`].
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {number: folder / f"batch-{number:03d}.pt" for number in range(batches)}
    for number in in_time([number for number, path in paths.items() if not path.exists()], seconds):
        found = probe.batch(tasks, number)
        with temporary_path(paths[number]) as temporary:
            torch.save(found, temporary)
        yield number


def load_batches(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Return the gradients of all batches by start and way, of shape `(batches, parameters)`."""
    batches = [torch.load(path, weights_only=True) for path in paths]
    return {name: torch.stack([batch[name] for batch in batches]).double() for name in batches[0]}


def summarize(stacked: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """
    Compare the ways of credit of each start, and both starts, on at least three batches.

    Returns:
        `dict`: For each start and way `snr2`, the squared signal divided by the squared noise of one batch; `same`,
        the comparison with all tokens and the worst test from the same start; `scratch`, that with the same from
        scratch. `None` for a comparison with no signal, because all completions had the same score.
    """
    found = {}
    for name, gradient in stacked.items():
        start = name.partition(", ")[0]
        mine = (gradient @ gradient.T).tolist()
        found[name] = {
            "batches": len(mine),
            "snr2": _snr2(mine) if any(map(any, mine)) else None,
            "same": _compared(stacked, name, f"{start}, off"),
            "scratch": _compared(stacked, name, "scratch, off"),
        }
    return found


def _snr2(products: Products) -> dict[str, float]:
    def ratio(left_out: int | None = None) -> float:
        return squared_signal(products, left_out) / squared_noise(products, left_out)

    return dataclasses.asdict(jackknife(ratio, len(products)))


def _compared(stacked: Mapping[str, torch.Tensor], name: str, other: str) -> dict[str, Any] | None:
    mine, base = stacked[name], stacked[other]
    if not mine.any() or not base.any():
        return None
    products = {"off off": base @ base.T, "off this": base @ mine.T, "this this": mine @ mine.T}
    return compare({pair: product.tolist() for pair, product in products.items()}, "this")


def table(summary: Mapping[str, Any]) -> str:
    """Return the comparisons as a table in Markdown."""
    head = ["start, way", "signal²/noise² of a batch", "noise², of all tokens' from the same start", "gain", "cosine"]
    head += ["noise², of all tokens' from scratch", "cosine with them"]
    return markdown_table(head, list(_table_rows(summary))) + "\n"


def _table_rows(summary: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, found in summary.items():
        same, scratch = ({} if found[key] is None else found[key] for key in ("same", "scratch"))
        cells = [found["snr2"], *(same.get(key) for key in ("noise_ratio", "gain", "cosine"))]
        yield [name, *map(_cell, [*cells, scratch.get("noise_ratio"), scratch.get("cosine")])]


def _cell(figures: Mapping[str, float] | None) -> str:
    return "" if figures is None else f"{figures['mean']:.2f} [{figures['low']:.2f}, {figures['high']:.2f}]"
