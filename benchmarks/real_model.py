"""
PPO and StepCoder on a pretrained model: train LoRA on some of MBPP's training problems, compare pass@1.

    python benchmarks/real_model.py --model smollm2 --mbpp mbpp.jsonl --work runs/real --out docs/results/real_model

Two thirds of MBPP's solutions have no conditional to start from, so each seed draws `--problems` from the other third.
They are few, so that each is visited several times: the curriculum advances with visits. Both arms of a seed have the
same initial weights, problems, order, number and length of completions. Every pair of seed and arm is a training run
of its own, with one thread, that writes checkpoints. The same command continues after an interruption, and a larger
`--updates` extends the runs. Before the first update and after the last, every validation problem and every training
problem of the seed is answered `--samples` times from scratch, at the paper's temperature 0.2 and top-p 0.95.

`--minutes` ends the command after the current run's next checkpoint. The report (`results.json` and `curves.png`)
covers the runs that are finished.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_trl import Problem, load_problems
from stepcoder_trl.curriculum import curriculum_stages
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.versions import versions


ARMS = {
    "ppo": {"curriculum": "off", "fgo": "off"},
    "stepcoder": {"curriculum": "paper", "fgo": "lines"},
}
TRAIN, VALIDATION = range(601, 975), range(511, 601)  # MBPP's own split
RESAMPLES = 10_000
# An update takes two completions of four problems each. The learning rate is constant: runs may be taken further.
RECIPE: dict[str, Any] = {
    "learning_rate": 3e-4,
    "value_learning_rate": 3e-4,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_generations": 2,
}
LORA_RANK = 16
COMPLETIONS = RECIPE["per_device_train_batch_size"] * RECIPE["gradient_accumulation_steps"]
# Arguments that must not change between two commands on the same folder.
FIXED = ("model", "mbpp", "problems", "samples", "response_length", "bf16")


# One training run, in a process of its own


def train(arguments: argparse.Namespace) -> None:
    """Train one arm of one seed up to `--updates`, or to the first checkpoint after `--until`."""
    import torch
    from transformers import TrainerCallback
    from trl import ModelConfig

    from stepcoder_trl import StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments, run_ppo

    class TimeLimit(TrainerCallback):  # type: ignore[misc]
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop |= time.time() > arguments.until

    torch.set_num_threads(1)
    folder = _run_folder(arguments, arguments.seeds[0], arguments.arm)
    config = StepCoderPPOConfig(
        output_dir=str(folder),
        seed=arguments.seeds[0],
        response_length=arguments.response_length,
        max_steps=arguments.updates,
        logging_steps=1,
        save_steps=arguments.save_steps,
        save_total_limit=1,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        executor_workers=1,
        resume_from_checkpoint="true" if any(folder.glob("checkpoint-*")) else None,
        **RECIPE,
        **ARMS[arguments.arm],
    )
    run_ppo(
        PPOScriptArguments(problems=str(arguments.mbpp), prompt_style="chat"),
        config,
        # Frozen weights in bfloat16, adapters and value head in float32. Autocast would convert the frozen weights
        # again for every generated token.
        ModelConfig(
            arguments.model, use_peft=True, lora_r=LORA_RANK, dtype="bfloat16" if arguments.bf16 else "float32"
        ),
        training_problems(load_problems(arguments.mbpp), arguments.problems, arguments.seeds[0]),
        callbacks=[TimeLimit()],
    )


def training_problems(problems: Sequence[Problem], number: int, seed: int) -> list[Problem]:
    """Draw the training problems of a seed from those that fit."""
    return random.Random(seed).sample(fitting_problems(problems), number)


def fitting_problems(problems: Sequence[Problem]) -> list[Problem]:
    """Return MBPP's training problems whose curriculum has a stage above scratch."""
    return [
        problem
        for problem in problems
        if _number(problem.task_id) in TRAIN
        and len(curriculum_stages(problem.canonical_solution, problem.starter_code)) > 1
    ]


def _number(task_id: str) -> int:
    return int(task_id.rpartition("/")[2])


def _run_folder(arguments: argparse.Namespace, seed: int, arm: str) -> Path:
    return Path(arguments.work) / f"seed{seed}" / arm


# All runs


def run_all(arguments: argparse.Namespace) -> None:
    """Train and evaluate the unfinished runs, one after the other, until `--until`."""
    problems = load_problems(arguments.mbpp)
    fitting = fitting_problems(problems)
    if arguments.problems > len(fitting):
        raise BadInputError(
            f"{arguments.mbpp} has {len(fitting)} training problems with a stage above scratch, but --problems is "
            f"{arguments.problems}. Ask for fewer."
        )
    arguments.work.mkdir(parents=True, exist_ok=True)
    check_settings(arguments)
    validation = [problem for problem in problems if _number(problem.task_id) in VALIDATION]
    _evaluate(arguments, str(arguments.model), arguments.work / "initial", [*validation, *fitting])
    for seed in arguments.seeds:
        evaluated = [*validation, *training_problems(problems, arguments.problems, seed)]
        for arm in ARMS:
            folder = _run_folder(arguments, seed, arm)
            if time.time() > arguments.until or _is_finished(arguments, folder):
                continue
            if _updates(folder) > arguments.updates:
                raise SystemExit(
                    f"{folder} has {_updates(folder)} updates, but --updates is {arguments.updates}. Pass at least "
                    f"{_updates(folder)}."
                )
            if _updates(folder) < arguments.updates:
                _call(__file__, "--one", arm, "--seeds", str(seed), *_passed_on(arguments))
            if _updates(folder) == arguments.updates:
                # Evaluate the checkpoint: a later command may continue the run.
                model = folder / f"checkpoint-{arguments.updates}"
                _evaluate(arguments, str(model), _evaluation_folder(folder, arguments.updates), evaluated)


def check_settings(arguments: argparse.Namespace) -> None:
    """Write the settings of the runs to the folder. Exit if earlier runs had other settings."""
    current = {name: str(getattr(arguments, name)) for name in FIXED}
    current["recipe"] = json.dumps({**RECIPE, "lora_rank": LORA_RANK, "arms": ARMS})
    path = arguments.work / "settings.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else current
    for name, value in current.items():
        if value != earlier.get(name):
            setting = "another recipe" if name == "recipe" else f"--{name.replace('_', '-')} {earlier.get(name)}"
            raise SystemExit(f"{arguments.work} was begun with {setting}. Name another --work.")
    path.write_text(json.dumps(current, indent=2) + "\n", encoding="utf-8")


def _passed_on(arguments: argparse.Namespace) -> list[str]:
    names = ("model", "mbpp", "work", "problems", "response_length", "updates", "save_steps", "until")
    named = [part for name in names for part in (f"--{name.replace('_', '-')}", str(getattr(arguments, name)))]
    return [*named, *(["--bf16"] if arguments.bf16 else [])]


def _evaluate(arguments: argparse.Namespace, model: str, out: Path, problems: Sequence[Problem]) -> None:
    if _is_evaluated(out):
        return
    rows = out.with_name(f"{out.name}.jsonl")
    rows.parent.mkdir(parents=True, exist_ok=True)
    rows.write_text("".join(json.dumps(problem.to_row()) + "\n" for problem in problems), encoding="utf-8")
    length = str(arguments.response_length)
    settings = ("--num-samples", str(arguments.samples), "--prompt-style", "chat", "--max-new-tokens", length)
    drawing = (*settings, "--batch-size", "32", "--dtype", "bfloat16")
    _call("-m", "stepcoder_trl", "evaluate", "--model", model, "--problems", str(rows), "--out", str(out), *drawing)


def _call(*command: str) -> None:
    """Run Python with one thread. It prints to this terminal."""
    subprocess.run([sys.executable, *command], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _evaluation_folder(folder: Path, updates: int) -> Path:
    return folder.with_name(f"{folder.name}-evaluated-{updates}")


def _history(folder: Path) -> list[dict[str, Any]]:
    """Return the log of a run's newest checkpoint."""
    states = list(folder.glob("checkpoint-*/trainer_state.json"))
    if not states:
        return []
    newest = max(states, key=lambda path: int(path.parent.name.removeprefix("checkpoint-")))
    history: list[dict[str, Any]] = json.loads(newest.read_text(encoding="utf-8"))["log_history"]
    return history


def _updates(folder: Path) -> int:
    return max((entry["step"] for entry in _history(folder)), default=0)


# The report


def report(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the results of the finished runs. Intervals come from resampling seeds and problems."""
    runs = {(seed, arm): _run_folder(arguments, seed, arm) for seed in arguments.seeds for arm in ARMS}
    seeds = [seed for seed in arguments.seeds if all(_is_finished(arguments, runs[seed, arm]) for arm in ARMS)]
    if not _is_evaluated(arguments.work / "initial"):
        raise SystemExit(f"{arguments.work} has no evaluation of the model yet. Run it without --report-only.")
    initial = _pass_rates(arguments.work / "initial")
    result: dict[str, Any] = {
        "updates": arguments.updates,
        "seeds": seeds,
        "completions_per_update": COMPLETIONS,
        "recipe": {**RECIPE, "lora_rank": LORA_RANK},
        "training_problems": arguments.problems,
        "response_length": arguments.response_length,
        "validation_problems": sum(_number(task) in VALIDATION for task in initial),
        "samples_per_problem": arguments.samples,
        "initial": interval([_of(VALIDATION, initial)]),
        "versions": versions(),
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "curves": {f"{arm}, seed {seed}": _curve(folder) for (seed, arm), folder in runs.items()},
    }
    if seeds:
        rates = {run: _pass_rates(_evaluation_folder(runs[run], arguments.updates)) for run in runs if run[0] in seeds}
        result["pass@1"] = {
            name: compare(initial, [{arm: _of(numbers, rates[seed, arm]) for arm in ARMS} for seed in seeds])
            for name, numbers in (("validation", VALIDATION), ("training", TRAIN))
        }
    return result


def compare(initial: Mapping[str, float], by_seed: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """
    Compare the pass rates of the arms and of the initial model on the same problems.

    Return an `interval` for `"initial"`, each arm and their difference. `"by seed"` has the means.
    """
    columns: dict[str, list[dict[str, float]]] = {"initial": [], **{arm: [] for arm in ARMS}, "stepcoder - ppo": []}
    for rates in by_seed:
        problems = [problem for problem in rates["ppo"] if problem in rates["stepcoder"] and problem in initial]
        columns["initial"].append({problem: initial[problem] for problem in problems})
        for arm in ARMS:
            columns[arm].append({problem: rates[arm][problem] for problem in problems})
        columns["stepcoder - ppo"].append(
            {problem: rates["stepcoder"][problem] - rates["ppo"][problem] for problem in problems}
        )
    means = {name: [statistics.fmean(values.values()) for values in column] for name, column in columns.items()}
    return {**{name: interval(column) for name, column in columns.items()}, "by seed": means}


def _is_finished(arguments: argparse.Namespace, folder: Path) -> bool:
    return _is_evaluated(_evaluation_folder(folder, arguments.updates))


def _is_evaluated(folder: Path) -> bool:
    return (folder / "summary.json").exists()


def _pass_rates(folder: Path) -> dict[str, float]:
    """Return each problem's share of passing samples. Samples that could not be run are left out."""
    by_task: dict[str, list[bool]] = {}
    for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["passed"] is not None:
            by_task.setdefault(row["task_id"], []).append(row["passed"])
    return {task: statistics.fmean(passed) for task, passed in by_task.items()}


def _of(numbers: range, rates: dict[str, float]) -> dict[str, float]:
    return {task: rate for task, rate in rates.items() if _number(task) in numbers}


def interval(by_seed: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """
    Return a mean with a 95 % bootstrap interval over seeds and problems. With few seeds the interval is too narrow.

    If all seeds have the same problems, these are resampled once for all seeds, otherwise in each seed.
    """
    draw = random.Random(0)
    shared = all(values.keys() == by_seed[0].keys() for values in by_seed)

    def resampled() -> float:
        problems = draw.choices(list(by_seed[0]), k=len(by_seed[0]))
        means = []
        for values in draw.choices(by_seed, k=len(by_seed)):
            drawn = problems if shared else draw.choices(list(values), k=len(values))
            means.append(statistics.fmean(values[problem] for problem in drawn))
        return statistics.fmean(means)

    means = sorted(resampled() for _ in range(RESAMPLES))
    value = statistics.fmean(statistics.fmean(values.values()) for values in by_seed)
    return {"value": value, "low": means[RESAMPLES // 40], "high": means[-RESAMPLES // 40]}


def _curve(folder: Path) -> list[dict[str, float]]:
    names = ("step", "objective/scores", "executor/passed", "objective/kl", "fgo/kept_share")
    names += ("curriculum/scratch_share", "curriculum/advanced")
    return [{name: entry[name] for name in names if name in entry} for entry in _history(folder)]


def write(result: dict[str, Any], folder: Path) -> None:
    """Write `results.json`, and `curves.png` with the extra `plots`."""
    from stepcoder_trl.reports.plots import can_plot, plot_curves

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    curves = {name: points for name, points in result["curves"].items() if points}
    panels = {
        "share of completions that passed (StepCoder: of subtasks)": "executor/passed",
        "KL divergence from the initial model, nats per completion": "objective/kl",
    }
    if can_plot() and curves:
        lines = {
            title: {name: [(point["step"], point[key]) for point in points] for name, points in curves.items()}
            for title, key in panels.items()
        }
        plot_curves(lines, folder / "curves.png")


def show(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the report."""
    rate = result["initial"]
    yield f"{result['validation_problems']} validation problems, before training: {rate['value']:.3f}"
    for problems, rates in result.get("pass@1", {}).items():
        yield f"pass@1 on {problems} problems, {result['samples_per_problem']} samples each, seeds {result['seeds']}"
        for name in ("initial", *ARMS, "stepcoder - ppo"):
            rate, seeds = rates[name], " ".join(f"{value:.3f}" for value in rates["by seed"][name])
            yield f"  {name:16s} {rate['value']:6.3f} ({rate['low']:.3f} to {rate['high']:.3f}); by seed {seeds}"
    for name, points in result["curves"].items():
        yield f"  {name}: {len(points)} of {result['updates']} updates"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a pretrained model")
    parser.add_argument("--mbpp", required=True, type=Path, help="mbpp.jsonl, as its authors publish it")
    parser.add_argument("--work", type=Path, default=Path("runs/real_model"), help="folder of runs (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder for results.json and curves.png")
    parser.add_argument("--updates", type=int, default=32, help="updates per run, of 8 completions each (32)")
    parser.add_argument("--problems", type=int, default=16, help="training problems per seed (16)")
    parser.add_argument("--response-length", type=int, default=128, help="maximum tokens per completion (128)")
    parser.add_argument("--save-steps", type=int, default=4, help="updates between two checkpoints (4)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds (0 1 2)")
    parser.add_argument("--samples", type=int, default=2, help="samples per problem in an evaluation (2)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop at the first checkpoint after this time")
    parser.add_argument("--report-only", action="store_true", help="write the report without training")
    parser.add_argument("--bf16", action="store_true", help="frozen weights in bfloat16, for CPUs that compute in it")
    parser.add_argument("--one", dest="arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=math.inf, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        train(arguments)
        return
    if not arguments.mbpp.is_file():
        parser.error(f"--mbpp {arguments.mbpp} is not a file. Name mbpp.jsonl, as its authors publish it.")
    if not Path(arguments.model).is_dir():
        parser.error(f"--model {arguments.model} is not a folder. docs/ppo_mbpp.md says where to get a model.")
    arguments.until = min(arguments.until, time.time() + 60 * arguments.minutes)
    if arguments.updates < 1:
        parser.error(f"--updates is {arguments.updates}, but must be at least 1.")
    if not arguments.report_only:
        try:
            run_all(arguments)
        except BadInputError as error:
            parser.error(str(error))
    result = report(arguments)
    print("\n".join(show(result)))
    if arguments.out:
        write(result, arguments.out)


if __name__ == "__main__":
    main()
