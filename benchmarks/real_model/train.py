"""
PPO and StepCoder on a pretrained model: train LoRA on some of MBPP's training problems, compare pass@1.

    python -m benchmarks.real_model.train --model smollm2 --mbpp mbpp.jsonl --work runs/real --out results

Two thirds of MBPP's solutions have no conditional to start from, so each seed draws 16 from the other third. They are
few, so that each is visited several times: the curriculum advances with visits. Both arms of a seed have the
same initial weights, problems, order, number and length of completions. Every pair of seed and arm is a training run
of its own, with one thread, that writes checkpoints. The same command continues after an interruption, and a larger
`--updates` extends the runs. Before the first update and after the last, every validation problem and every training
problem of the seed is answered twice from scratch, at the paper's temperature 0.2 and top-p 0.95.

The report has `results.json` and `curves.png`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
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
SEEDS = (0, 1, 2)
PROBLEMS = 16  # per seed
SAMPLES = 2  # per problem in an evaluation
RESPONSE_LENGTH = 128
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
FIXED = ("model", "mbpp", "bf16")


# One training run, in a process of its own


def train(arguments: argparse.Namespace) -> None:
    """Train one arm of one seed up to `--updates`."""
    import torch
    from trl import ModelConfig

    from stepcoder_trl import StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments, run_ppo

    torch.set_num_threads(1)
    arm, seed = arguments.one[0], int(arguments.one[1])
    folder = _run_folder(arguments, seed, arm)
    config = StepCoderPPOConfig(
        output_dir=str(folder),
        overwrite_output_dir=True,  # one that was stopped before its first checkpoint is begun anew
        seed=seed,
        response_length=RESPONSE_LENGTH,
        max_steps=arguments.updates,
        logging_steps=1,
        save_steps=4,
        save_total_limit=1,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        executor_workers=1,
        resume_from_checkpoint="true" if any(folder.glob("checkpoint-*")) else None,
        **RECIPE,
        **ARMS[arm],
    )
    run_ppo(
        PPOScriptArguments(problems=str(arguments.mbpp), prompt_style="chat"),
        config,
        # Frozen weights in bfloat16, adapters and value head in float32. Autocast would convert the frozen weights
        # again for every generated token.
        ModelConfig(
            arguments.model, use_peft=True, lora_r=LORA_RANK, dtype="bfloat16" if arguments.bf16 else "float32"
        ),
        training_problems(load_problems(arguments.mbpp), seed),
    )


def training_problems(problems: Sequence[Problem], seed: int) -> list[Problem]:
    """Draw the training problems of a seed from those that fit."""
    return random.Random(seed).sample(fitting_problems(problems), PROBLEMS)


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
    """Train and evaluate the unfinished runs, one after the other."""
    problems = load_problems(arguments.mbpp)
    fitting = fitting_problems(problems)
    if len(fitting) < PROBLEMS:
        raise BadInputError(
            f"{arguments.mbpp} has {len(fitting)} training problems with a stage above scratch, but a seed takes "
            f"{PROBLEMS}. Name the complete file."
        )
    arguments.work.mkdir(parents=True, exist_ok=True)
    check_settings(arguments)
    validation = [problem for problem in problems if _number(problem.task_id) in VALIDATION]
    _evaluate(str(arguments.model), arguments.work / "initial", [*validation, *fitting])
    for seed in SEEDS:
        evaluated = [*validation, *training_problems(problems, seed)]
        for arm in ARMS:
            folder = _run_folder(arguments, seed, arm)
            if _is_evaluated(_evaluation_folder(folder, arguments.updates)):
                continue
            if _updates(folder) > arguments.updates:
                raise SystemExit(
                    f"{folder} has {_updates(folder)} updates, but --updates is {arguments.updates}. Pass at least "
                    f"{_updates(folder)}."
                )
            if _updates(folder) < arguments.updates:
                _call("-m", "benchmarks.real_model.train", *sys.argv[1:], "--one", arm, str(seed))
            # Evaluate the checkpoint: a later command may continue the run.
            model = folder / f"checkpoint-{arguments.updates}"
            _evaluate(str(model), _evaluation_folder(folder, arguments.updates), evaluated)


def check_settings(arguments: argparse.Namespace) -> None:
    """Write the settings of the runs to the folder. Exit if earlier runs had other settings."""
    current = {name: str(getattr(arguments, name)) for name in FIXED}
    current["recipe"] = json.dumps({**RECIPE, "lora_rank": LORA_RANK, "arms": ARMS})
    path = arguments.work / "settings.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else current
    for name, value in current.items():
        if value != earlier.get(name):
            setting = "another recipe" if name == "recipe" else f"--{name} {earlier.get(name)}"
            raise SystemExit(f"{arguments.work} was begun with {setting}. Name another --work.")
    path.write_text(json.dumps(current, indent=2) + "\n", encoding="utf-8")


def _evaluate(model: str, out: Path, problems: Sequence[Problem]) -> None:
    if _is_evaluated(out):
        return
    rows = out.with_name(f"{out.name}.jsonl")
    rows.parent.mkdir(parents=True, exist_ok=True)
    rows.write_text("".join(json.dumps(problem.to_row()) + "\n" for problem in problems), encoding="utf-8")
    settings = ("--num-samples", str(SAMPLES), "--prompt-style", "chat", "--max-new-tokens", str(RESPONSE_LENGTH))
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
    """Return the results of all runs. Intervals come from resampling seeds and problems."""
    runs = {(seed, arm): _run_folder(arguments, seed, arm) for seed in SEEDS for arm in ARMS}
    initial = _pass_rates(arguments.work / "initial")
    rates = {run: _pass_rates(_evaluation_folder(folder, arguments.updates)) for run, folder in runs.items()}
    return {
        "updates": arguments.updates,
        "seeds": list(SEEDS),
        "completions_per_update": COMPLETIONS,
        "recipe": {**RECIPE, "lora_rank": LORA_RANK},
        "training_problems": PROBLEMS,
        "response_length": RESPONSE_LENGTH,
        "validation_problems": sum(_number(task) in VALIDATION for task in initial),
        "samples_per_problem": SAMPLES,
        "initial": interval([_of(VALIDATION, initial)]),
        "versions": versions(),
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "curves": {f"{arm}, seed {seed}": _curve(folder) for (seed, arm), folder in runs.items()},
        "pass@1": {
            name: compare(initial, [{arm: _of(numbers, rates[seed, arm]) for arm in ARMS} for seed in SEEDS])
            for name, numbers in (("validation", VALIDATION), ("training", TRAIN))
        },
    }


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
    panels = {
        "share of completions that passed (StepCoder: of subtasks)": "executor/passed",
        "KL divergence from the initial model, nats per completion": "objective/kl",
    }
    if can_plot():
        curves = result["curves"].items()
        lines = {
            title: {name: [(point["step"], point[key]) for point in points] for name, points in curves}
            for title, key in panels.items()
        }
        plot_curves(lines, folder / "curves.png")


def show(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the report."""
    rate = result["initial"]
    yield f"{result['validation_problems']} validation problems, before training: {rate['value']:.3f}"
    for problems, rates in result["pass@1"].items():
        yield f"pass@1 on {problems} problems, {result['samples_per_problem']} samples each, seeds {result['seeds']}"
        for name in ("initial", *ARMS, "stepcoder - ppo"):
            rate, seeds = rates[name], " ".join(f"{value:.3f}" for value in rates["by seed"][name])
            yield f"  {name:16s} {rate['value']:6.3f} ({rate['low']:.3f} to {rate['high']:.3f}); by seed {seeds}"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a pretrained model")
    parser.add_argument("--mbpp", required=True, type=Path, help="mbpp.jsonl, as its authors publish it")
    parser.add_argument("--work", type=Path, default=Path("runs/real_model"), help="folder of runs (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder for results.json and curves.png")
    parser.add_argument("--updates", type=int, default=32, help="updates per run, of 8 completions each (32)")
    parser.add_argument("--bf16", action="store_true", help="frozen weights in bfloat16, for CPUs that compute in it")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # arm and seed
    arguments = parser.parse_args()
    if arguments.one:
        train(arguments)
        return
    if not arguments.mbpp.is_file():
        parser.error(f"--mbpp {arguments.mbpp} is not a file. Name mbpp.jsonl, as its authors publish it.")
    if not Path(arguments.model).is_dir():
        parser.error(f"--model {arguments.model} is not a folder. docs/ppo_mbpp.md says where to get a model.")
    if arguments.updates < 1:
        parser.error(f"--updates is {arguments.updates}, but must be at least 1.")
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
