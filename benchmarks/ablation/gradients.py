"""
Signal and noise of the policy gradient with and without FGO, from the same completions.

    python -m benchmarks.ablation.gradients --settings tests_1 sparse tests_4 --out docs/results/ablation

Two moments are looked at. `start`: the fine-tuned model, whose completions begin from scratch; its critic alone was
trained for some updates first. `midway`: policy, critic and curriculum of StepCoder after the first update of which
half of the completions passed. There training stops, and every batch of completions, of problems drawn anew, gives
three gradients: of all tokens, of those that FGO keeps, and of as many at random. With independent batches, the mean
product of two different gradients is an unbiased estimate of the squared signal, and what is left of their mean square
is the squared noise.
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
from benchmarks.ablation.run import make_trainer, unexecuted_share
from benchmarks.ablation.settings import ARMS, COMMON, MAIN, SETTINGS, Arm, Job, Setting, digest
from stepcoder_trl import CodeExecutor, ExecutorConfig, StepCoderPPOTrainer
from stepcoder_trl.steps.masks import loss_masks
from stepcoder_trl.steps.padding import pad_masks
from stepcoder_trl.steps.rows import PromptRow


MASKS = ("off", "lines", "random")
CRITIC_UPDATES = 6
MOMENTS: dict[str, dict[str, Any]] = {  # options of the training before
    "start": {"curriculum": "off", "fgo": "off", "critic_warmup_steps": CRITIC_UPDATES},
    "midway": ARMS["stepcoder"].options,
}
PASSING = 0.5  # share of an update's completions from which on StepCoder counts as midway


class StopAt(TrainerCallback):
    """Ends training at a moment, in the middle of its schedules."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Stop after the update that the metrics are of."""
        done = {"start": state.global_step >= CRITIC_UPDATES, "midway": logs.get("executor/passed", 0) >= PASSING}
        control.should_training_stop |= done[self.moment]


class GradientProbe(StepCoderPPOTrainer):
    """Trainer that hands out gradients instead of following them."""

    def gradients(self, rows: Sequence[PromptRow], step: int) -> tuple[dict[str, torch.Tensor], float]:
        """
        Gradient of the policy loss under each mask, from one batch of completions.

        Args:
            rows (`Sequence[PromptRow]`):
                Problem of each completion.
            step (`int`):
                Number of the batch: random masks depend on it.

        Returns:
            `tuple[dict[str, torch.Tensor], float]`: Gradients as vectors, and the share of tokens that no test ran.
        """
        rollout = self.generate_rollout(self.draw_samples(rows))
        runs = self.submit_programs(rollout)
        tokens = self.score_tokens(rollout)
        feedback = self.collect_feedback(runs)
        scores = self.score_completions(rollout, feedback)
        rewards = self.compute_rewards(rollout, tokens, scores, feedback)
        found = {}
        for name in MASKS:
            rule = dataclasses.replace(self.mask_rule, fgo=name)
            masks = loss_masks(rollout.completions, feedback.executions, rule, step)
            loss_mask = pad_masks(masks, rollout.generation.response_ids) & scores.scored[:, None]
            experience = self.compute_advantages(rollout, tokens, rewards, scores, loss_mask)
            self.optimizer.zero_grad()
            self.backward(experience, loss_mask.sum().clamp(min=1), experience.valid_mask.sum().clamp(min=1), {})
            parameters = self.accelerator.unwrap_model(self.model).policy.parameters()
            found[name] = torch.cat([parameter.grad.flatten() for parameter in parameters])
        self.optimizer.zero_grad()
        return found, unexecuted_share(rollout, feedback)


def probe(setting: Setting, seed: int, work: Path, batches: int, moment: str) -> dict[str, Any]:
    """
    Gradients of a seed's model.

    Args:
        setting (`Setting`):
            Family and tests.
        seed (`int`):
            Seed.
        work (`Path`):
            Where problems and models are kept.
        batches (`int`):
            Batches of completions.
        moment (`str`):
            When, see `MOMENTS`.

    Returns:
        `dict[str, Any]`: `updates` before; `unexecuted_share`; `products`: for each pair of masks the products of all
        gradients of the one with all of the other.
    """
    material = prepare(setting, seed, work)
    collected: dict[str, list[torch.Tensor]] = {name: [] for name in MASKS}
    shares = []
    with (
        tempfile.TemporaryDirectory() as folder,
        CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=1.0)) as executor,
    ):
        arm = Arm("probe", MOMENTS[moment])
        trainer = make_trainer(GradientProbe, Job(setting, "probe", seed), arm, material, executor, folder)
        trainer.add_callback(StopAt(moment))
        trainer.train()
        trainer.args.critic_warmup_steps = 0  # of a run that was too short for it, too
        trainer.accelerator.unwrap_model(trainer.model).value_model.requires_grad_(False)  # costs time, is not asked
        draw = random.Random(f"batches {seed}")
        for step in range(batches):
            problems = draw.choices(trainer.rows, k=setting.prompts_per_update)
            rows = [row for row in problems for _ in range(setting.num_generations)]
            found, share = trainer.gradients(rows, step)
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


# Arithmetic, on the products of gradients


Products = Sequence[Sequence[float]]  # of the gradient of batch i under one mask with that of batch j under another


def squared_signal(products: Products, without: int | None = None) -> float:
    """Unbiased estimate of the product of two mean gradients, without the batch `without`."""
    kept = [i for i in range(len(products)) if i != without]
    pairs = [products[i][j] for i in kept for j in kept if i != j]
    return sum(pairs) / len(pairs)


def squared_noise(products: Products, without: int | None = None) -> float:
    """Variance of the gradient of one batch, summed over the parameters."""
    kept = [i for i in range(len(products)) if i != without]
    return sum(products[i][i] for i in kept) / len(kept) - squared_signal(products, without)


def jackknife(statistic: Callable[[int | None], float], n: int) -> Estimate:
    """A statistic of `n` batches, which takes the batch to leave out, with a 95 % interval by the jackknife."""
    whole = statistic(None)
    parts = [statistic(left_out) for left_out in range(n)]
    center = sum(parts) / n
    error = math.sqrt((n - 1) / n * sum((part - center) ** 2 for part in parts))
    half = t_quantile(n - 1) * error
    return Estimate(whole, whole - half, whole + half, n)


def compare(products: dict[str, Products], name: str) -> dict[str, Any]:
    """
    Squared signal-to-noise ratio of a mask beside that of all tokens.

    Args:
        products (`dict[str, Products]`):
            As `probe` gives them.
        name (`str`):
            Mask.

    Returns:
        `dict[str, Any]`: `snr`, of one batch; `noise_ratio`, `signal_ratio` and `gain`, squared and divided by those
        of all tokens; the last, with its interval, is how many times as many completions all tokens would need, if
        both gradients point the same way; `cosine`, whether they do.
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


Findings = dict[str, dict[str, Any]]  # by setting and moment: `probe`, its name, and `seeds`, what each of them found


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """What is said of a probe: `updates`, `unexecuted_share`, and `masks`, each beside all tokens."""
    told = {name: found[name] for name in ("updates", "unexecuted_share")}
    return {**told, "masks": {mask: compare(found["products"], mask) for mask in MASKS}}


def table(findings: Findings) -> str:
    """Means over seeds as a table in Markdown. Intervals are over seeds, or of one over its batches."""
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
    """Mean over seeds with its interval; of one seed the interval over its batches."""
    found = estimate([one["mean"] for one in figures]) if len(figures) > 1 else Estimate(**figures[0])
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def main() -> None:
    """Measure what is not measured yet, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[MAIN.name])
    parser.add_argument("--moments", nargs="+", choices=MOMENTS, default=list(MOMENTS), help="default: both")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--batches", type=int, default=24, help="of 64 completions, per setting and seed")
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"), help="folder of the runs (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/results/ablation"), help="default: %(default)s")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    reported = chosen.out / "gradients.json"
    known = collect(reported, chosen.work, chosen.batches)  # an unreadable file is named before anything is measured
    for seed, name, moment in itertools.product(chosen.seeds, chosen.settings, chosen.moments):
        if str(seed) not in known.get(f"{name}, {moment}", {}).get("seeds", {}):
            path = _path(name, moment, chosen.batches, chosen.work, seed)
            compute_once(path, partial(probe, SETTINGS[name], seed, chosen.work, chosen.batches, moment))
    findings = collect(reported, chosen.work, chosen.batches)
    write_json(reported, findings)
    (chosen.out / "gradients.md").write_text(table(findings))
    print(table(findings))


def collect(reported: Path, work: Path, batches: int) -> Findings:
    """All that is known: what was reported before, maybe from another machine, and what the probes of `work` found."""
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
    """File of what a probe found; another one if anything about it is changed."""
    asked = {**dataclasses.asdict(SETTINGS[name]), "common": COMMON, "options": MOMENTS[moment], "batches": batches}
    del asked["reason"]
    return work / "gradients" / f"{name}-{moment}-{digest(asked)}-seed{seed}.json"


if __name__ == "__main__":
    main()
