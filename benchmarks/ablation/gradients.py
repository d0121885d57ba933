"""
Measure signal and noise of the policy gradient with and without FGO on the same completions.

    python -m benchmarks.ablation.gradients --settings tests_1 sparse tests_4

Gradients are measured at two moments. `start` is the fine-tuned model after some updates of its critic alone, with
completions from scratch. `midway` is StepCoder's policy, critic and curriculum after the first update in which half of
the completions passed. Training stops there. Then every batch of completions of newly drawn problems gives three
gradients: from all tokens, from the tokens that FGO keeps, and from as many random tokens. For independent batches,
the mean product of two different gradients is an unbiased estimate of the squared signal. The rest of their mean
square is the squared noise.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from benchmarks.ablation.files import compute_once, read_reported, write_json
from benchmarks.ablation.intervals import Estimate, estimate, t_quantile
from benchmarks.ablation.material import prepare
from benchmarks.ablation.report import markdown_table
from benchmarks.ablation.settings import ARMS, COMMON, MAIN, OUT, SETTINGS, WORK, Arm, Job, Setting, digest
from benchmarks.ablation.trainers import make_ppo_trainer, unexecuted_share
from stepcoder_trl import CodeExecutor, ExecutorConfig, StepCoderPPOTrainer
from stepcoder_trl.steps.masks import loss_masks
from stepcoder_trl.steps.padding import pad_masks
from stepcoder_trl.steps.rows import PromptRow


MASKS = ("off", "lines", "random")
SEEDS = (0, 1, 2)
BATCHES = 24  # of 64 completions, per setting and seed
CRITIC_UPDATES = 6
MOMENTS: dict[str, dict[str, Any]] = {  # options of the training that leads there
    "start": {"curriculum": "off", "fgo": "off", "critic_warmup_steps": CRITIC_UPDATES},
    "midway": ARMS["stepcoder"].options,
}
PASSING = 0.5  # training is midway when this share of an update's completions passes


class StopAt(TrainerCallback):
    """Ends training at a moment, without changing its schedules."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Stop after the update with these metrics if the moment is reached."""
        reached = {"start": state.global_step >= CRITIC_UPDATES, "midway": logs.get("executor/passed", 0) >= PASSING}
        control.should_training_stop |= reached[self.moment]


def gradients(
    trainer: StepCoderPPOTrainer, rows: Sequence[PromptRow], step: int
) -> tuple[dict[str, torch.Tensor], float]:
    """
    Return the gradient of the policy loss under each mask, and the share of unexecuted tokens. No weight changes.

    Each row is the problem of one completion. Random masks depend on `step`, the number of the batch.
    """
    rollout = trainer.generate_rollout(trainer.draw_samples(rows))
    runs = trainer.submit_programs(rollout)
    tokens = trainer.score_tokens(rollout)
    feedback = trainer.collect_feedback(runs)
    scores = trainer.score_completions(rollout, feedback)
    rewards = trainer.compute_rewards(rollout, tokens, scores, feedback)
    found = {}
    for name in MASKS:
        rule = dataclasses.replace(trainer.mask_rule, fgo=name)
        masks = loss_masks(rollout.completions, feedback.executions, rule, step)
        loss_mask = pad_masks(masks, rollout.generation.response_ids) & scores.scored[:, None]
        experience = trainer.compute_advantages(rollout, tokens, rewards, scores, loss_mask)
        trainer.optimizer.zero_grad()
        valid = experience.valid_mask.sum().clamp(min=1)
        trainer.learner.backward(experience, loss_mask.sum().clamp(min=1), valid, {})
        parameters = trainer.accelerator.unwrap_model(trainer.model).policy.parameters()
        found[name] = torch.cat([parameter.grad.flatten() for parameter in parameters])
    trainer.optimizer.zero_grad()
    return found, unexecuted_share(rollout.completions, feedback.executions)


def probe(setting: Setting, seed: int, work: Path, batches: int, moment: str) -> dict[str, Any]:
    """
    Measure the gradients of a seed's model at a moment.

    `products` has for each pair of masks the products of all gradients under one mask with all gradients under the
    other.
    """
    material = prepare(setting, seed, work)
    collected: dict[str, list[torch.Tensor]] = {name: [] for name in MASKS}
    shares = []
    with (
        tempfile.TemporaryDirectory() as folder,
        CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=1.0)) as executor,
    ):
        arm = Arm("probe", MOMENTS[moment])
        trainer = make_ppo_trainer(Job(setting, "probe", seed), arm, material, executor, folder)
        trainer.add_callback(StopAt(moment))
        trainer.train()
        trainer.learner.trains_policy = True  # otherwise a short run may still be in the warm-up
        trainer.accelerator.unwrap_model(trainer.model).value_model.requires_grad_(False)  # saves time
        draw = random.Random(f"batches {seed}")
        for step in range(batches):
            problems = draw.choices(trainer.rows, k=setting.prompts_per_update)
            rows = [row for row in problems for _ in range(setting.num_generations)]
            found, share = gradients(trainer, rows, step)
            shares.append(share)
            for name, gradient in found.items():
                collected[name].append(gradient)
    stacked = {name: torch.stack(gradients).double() for name, gradients in collected.items()}
    products = {
        f"{one} {other}": (stacked[one] @ stacked[other].T).tolist()
        for one in MASKS
        for other in MASKS
        if one <= other
    }
    share = sum(shares) / len(shares)
    return {"updates": trainer.state.global_step, "unexecuted_share": share, "products": products}


# Arithmetic on the products of gradients


Products = Sequence[Sequence[float]]  # [i][j]: gradient of batch i under one mask times that of j under another


def squared_signal(products: Products, without: int | None = None) -> float:
    """Return an unbiased estimate of the product of two mean gradients. Batch `without` is left out."""
    kept = [i for i in range(len(products)) if i != without]
    pairs = [products[i][j] for i in kept for j in kept if i != j]
    return sum(pairs) / len(pairs)


def squared_noise(products: Products, without: int | None = None) -> float:
    """Return the variance of one batch's gradient, summed over the parameters. Batch `without` is left out."""
    kept = [i for i in range(len(products)) if i != without]
    return sum(products[i][i] for i in kept) / len(kept) - squared_signal(products, without)


def jackknife(statistic: Callable[[int | None], float], n: int) -> Estimate:
    """Return a statistic of `n` batches with a 95 % jackknife interval. It takes the batch to leave out, or `None`."""
    whole = statistic(None)
    parts = [statistic(left_out) for left_out in range(n)]
    center = sum(parts) / n
    error = math.sqrt((n - 1) / n * sum((part - center) ** 2 for part in parts))
    half = t_quantile(n - 1) * error
    return Estimate(whole, whole - half, whole + half, n)


def compare(products: dict[str, Products], name: str) -> dict[str, Any]:
    """
    Compare the squared signal-to-noise ratio under a mask with that of all tokens.

    `snr` is the ratio for one batch. `signal_ratio`, `noise_ratio` and `gain` are the squared signal, noise and ratio
    divided by those of all tokens. `cosine` is that of the angle between the two mean gradients. If it is 1, all
    tokens need `gain` times as many completions for the same accuracy.
    """
    mine, all_tokens = products[f"{name} {name}"], products["off off"]
    across = products[" ".join(sorted((name, "off")))]

    def signal(left_out: int | None = None) -> float:
        return squared_signal(mine, left_out) / squared_signal(all_tokens, left_out)

    def noise(left_out: int | None = None) -> float:
        return squared_noise(mine, left_out) / squared_noise(all_tokens, left_out)

    def cosine(left_out: int | None = None) -> float:
        lengths = squared_signal(mine, left_out) * squared_signal(all_tokens, left_out)
        return squared_signal(across, left_out) / math.sqrt(lengths) if lengths > 0 else math.nan

    return {
        "snr": math.copysign(math.sqrt(abs(squared_signal(mine)) / squared_noise(mine)), squared_signal(mine)),
        "signal_ratio": dataclasses.asdict(jackknife(signal, len(mine))),
        "noise_ratio": dataclasses.asdict(jackknife(noise, len(mine))),
        "gain": dataclasses.asdict(jackknife(lambda left_out: signal(left_out) / noise(left_out), len(mine))),
        "cosine": dataclasses.asdict(jackknife(cosine, len(mine))),
    }


# All settings and seeds


Findings = dict[str, dict[str, Any]]  # by setting and moment: `probe`, its name, and `seeds`, a summary per seed


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return a probe's `updates`, `unexecuted_share`, and `masks`, each compared with all tokens."""
    kept = {name: found[name] for name in ("updates", "unexecuted_share")}
    return {**kept, "masks": {mask: compare(found["products"], mask) for mask in MASKS}}


def table(findings: Findings) -> str:
    """Return means over seeds as a Markdown table. Intervals are over seeds, for a single seed over its batches."""
    head = ["setting, moment", "seeds", "tokens unexecuted", "mask"]
    head += ["signal², of all tokens'", "noise²", "signal²/noise²", "cosine"]
    rows = []
    for name, one in findings.items():
        seeds = list(one["seeds"].values())
        share = sum(seed["unexecuted_share"] for seed in seeds) / len(seeds)
        for mask in MASKS[1:]:
            keys = ("signal_ratio", "noise_ratio", "gain", "cosine")
            cells = [_cell([seed["masks"][mask][key] for seed in seeds]) for key in keys]
            rows.append([name, str(len(seeds)), f"{100 * share:.0f} %", mask, *cells])
    return markdown_table(head, rows) + "\n"


def _cell(figures: Sequence[dict[str, float]]) -> str:
    """Format the mean over seeds with its interval. A single seed has an interval over its batches."""
    found = estimate([one["mean"] for one in figures]) if len(figures) > 1 else Estimate(**figures[0])
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def main() -> None:
    """Measure the gradients without a result, and report all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[MAIN.name], help="default: %(default)s")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    reported = OUT / "gradients.json"
    known = collect(reported, WORK, BATCHES)  # fails on an unreadable file before the measurements
    for seed, name, moment in itertools.product(SEEDS, chosen.settings, MOMENTS):
        if str(seed) not in known.get(f"{name}, {moment}", {}).get("seeds", {}):
            path = _path(name, moment, BATCHES, WORK, seed)
            compute_once(path, partial(probe, SETTINGS[name], seed, WORK, BATCHES, moment))
    findings = collect(reported, WORK, BATCHES)
    write_json(reported, findings)
    (OUT / "gradients.md").write_text(table(findings))
    print(table(findings))


def collect(reported: Path, work: Path, batches: int) -> Findings:
    """Return the results of all probes, from an earlier report and from `work`."""
    before: Findings = read_reported(reported)
    findings: Findings = {}
    for name, moment in itertools.product(SETTINGS, MOMENTS):
        label, pattern = f"{name}, {moment}", _path(name, moment, batches, work)
        known = before.get(label, {})
        seeds = dict(known["seeds"]) if known.get("probe") == pattern.stem else {}
        for path in pattern.parent.glob(pattern.name):
            seeds[path.stem.rpartition("-seed")[2]] = summary(json.loads(path.read_text()))
        if seeds:
            findings[label] = {"probe": pattern.stem, "seeds": dict(sorted(seeds.items()))}
    return findings


def _path(name: str, moment: str, batches: int, work: Path, seed: int | str = "*") -> Path:
    """Return the file of a probe's result. Its name contains a digest of the settings."""
    settings = {**dataclasses.asdict(SETTINGS[name]), "common": COMMON, "options": MOMENTS[moment], "batches": batches}
    del settings["reason"]
    return work / "gradients" / f"{name}-{moment}-{digest(settings)}-seed{seed}.json"


if __name__ == "__main__":
    main()
