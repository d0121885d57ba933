"""
StepCoder on a pretrained code model.

    python -m benchmarks.real_model stages --model qwen --data DATA --minutes 60
    python -m benchmarks.real_model gradients --model qwen --data DATA --minutes 60
    python -m benchmarks.real_model train --model qwen --data DATA --minutes 60 --updates 32

`stages` samples each stage of real problems, without training: pass rates, groups that carry a signal, and the share
of tokens that FGO leaves out. `gradients` measures signal and noise of the policy gradient with and without each part.
`train` trains LoRA on problems that the model hardly solves, and evaluates it on others.

DATA is a folder with `mbpp.jsonl` and `apps_plus_valid.jsonl`. Problems come in a random order that is fixed, the sets
in turn. So a measurement that stops at any time is one of a random sample, and the same command goes on with it.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.real_model import gradients, train, training_report
from benchmarks.real_model.problems import FILES, Task, load_tasks
from benchmarks.real_model.samplers import load_sampler
from benchmarks.real_model.sitting import Sitting, TimeIsOver
from benchmarks.real_model.stages import Measurement, SampleFile, measure_all
from benchmarks.real_model.summary import summarize, tables
from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import SamplingConfig
from stepcoder_trl.jsonl import write_json
from stepcoder_trl.versions import versions


# Settings on which the samples depend. A file of samples has one set of them.
SETTINGS = ("sets", "samples", "prompt_tokens", "solution_tokens", "new_tokens", "temperature", "top_p", "dtype")


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings on which the samples depend."""
    chosen = {name: getattr(arguments, name) for name in SETTINGS}
    return {"model": Path(arguments.model).resolve().name, **chosen}


def prepare(arguments: argparse.Namespace, executor: CodeExecutor) -> tuple[list[Task], Measurement]:
    """Load the problems and the model."""
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    tasks = _load_tasks(arguments, tokenizer)
    sampling = SamplingConfig(arguments.new_tokens, arguments.temperature, arguments.top_p, tokenizer.eos_token_id)
    longest = arguments.prompt_tokens + arguments.solution_tokens
    size, dtype = arguments.batch_size, arguments.dtype
    sample, eos = load_sampler(arguments.model, tokenizer, sampling, size, dtype, longest)
    return tasks, Measurement(sample, tokenizer, eos, executor, arguments.samples)


def _load_tasks(arguments: argparse.Namespace, tokenizer: Any) -> list[Task]:
    lengths = arguments.prompt_tokens, arguments.solution_tokens
    return load_tasks(arguments.data, arguments.sets, tokenizer, *lengths)


def measure_stages(arguments: argparse.Namespace) -> None:
    """Sample the stages of the next problems, and write `stages.jsonl` and `stages.json`."""
    file = SampleFile(arguments.out / "stages.jsonl", settings_of(arguments))
    if arguments.minutes > 0:
        with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
            tasks, measurement = prepare(arguments, executor)
            for _ in measure_all(tasks, file, measurement, arguments.problems, 60 * arguments.minutes):
                print(f"{len(file.rows)} of {len(tasks)} problems measured", flush=True)
    found = summarize(file.rows)
    write(arguments, "stages", found, tables(found, settings_of(arguments)))


def measure_gradients(arguments: argparse.Namespace) -> None:
    """Measure the gradients of the next batches, and write `gradients.json`."""
    from peft import LoraConfig, get_peft_model

    name = "-".join(str(value) for value in (arguments.problems, *settings_of(arguments).values()))
    folder = arguments.work / "gradients" / name.replace("/", "_")
    if arguments.minutes > 0:
        base = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, arguments.dtype))
        torch.manual_seed(0)
        model = get_peft_model(base, LoraConfig(r=arguments.lora_rank, task_type="CAUSAL_LM")).eval()
        with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
            tasks, measurement = prepare(arguments, executor)
            probe = gradients.Probe(model, measurement, arguments.temperature, arguments.problems)
            measured = gradients.measure_batches(probe, tasks, folder, arguments.batches, 60 * arguments.minutes)
            for number in measured:
                print(f"{number + 1} of {arguments.batches} batches measured", flush=True)
    paths = sorted(folder.glob("*.pt"))
    if len(paths) < gradients.FEWEST:
        print(f"{len(paths)} batches are measured. Intervals need {gradients.FEWEST}.")
        return
    found = gradients.summarize(gradients.load_batches(paths))
    write(arguments, "gradients", {"problems": arguments.problems, "ways": found}, gradients.table(found))


def train_and_evaluate(arguments: argparse.Namespace) -> None:
    """Go on with the training runs, and write `training.json`."""
    sitting = Sitting(60 * arguments.minutes)
    if arguments.one:
        arm, seed, problems = arguments.one
        train.train_one(arguments, Path(problems), arm, int(seed), sitting)
        return
    train.check_settings(arguments)
    tasks = _load_tasks(arguments, AutoTokenizer.from_pretrained(arguments.model))
    held_out, candidates = train.held_out_and_candidates(tasks)
    try:
        train.train_all(arguments, tasks, _hard_problems(arguments, candidates, sitting), sitting)
    except TimeIsOver:
        print("The time is over. The same command goes on.")
    names = [task.row.task_id for task in held_out]
    result = training_report.report(arguments.work, arguments.updates, names)
    write(arguments, "training", result, training_report.table(result))


def _hard_problems(arguments: argparse.Namespace, candidates: Sequence[Task], sitting: Sitting) -> list[str]:
    settings = {**settings_of(arguments), "samples": train.SCRATCH_SAMPLES}
    file = SampleFile(arguments.work / "scratch.jsonl", settings)
    found = train.hard_problems(file.rows)
    if len(found) >= train.POOL or len(file.rows) >= len(candidates):
        return found
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        _, measurement = prepare(arguments, executor)
        measurement = replace(measurement, samples=train.SCRATCH_SAMPLES, scratch_only=True)
        return train.find_hard_problems(candidates, file, measurement, arguments.problems, sitting)


def write(arguments: argparse.Namespace, name: str, found: Mapping[str, Any], text: str) -> None:
    """Write results with their settings, and print them as a table."""
    machine = f"{platform.platform()}, {os.cpu_count()} cores"
    begin = {"settings": settings_of(arguments), "versions": versions(), "machine": machine}
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / f"{name}.json", {**begin, **found})
    print(text)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    stages = verbs.add_parser("stages", help="sample each stage of real problems, without training")
    add_arguments(stages, problems=4)
    probe = verbs.add_parser("gradients", help="measure signal and noise of the policy gradient")
    add_arguments(probe, problems=8)
    probe.add_argument("--work", type=Path, default=Path("runs/real_model"), help="folder of gradients (%(default)s)")
    probe.add_argument("--batches", type=int, default=16, help="batches in all (16)")
    probe.add_argument("--lora-rank", type=int, default=8, help="rank of the adapter (8)")
    training = verbs.add_parser("train", help="train LoRA on problems that the model hardly solves")
    add_arguments(training, problems=4)
    training.add_argument(
        "--work", type=Path, default=Path("runs/real_model/train"), help="folder of runs (%(default)s)"
    )
    training.add_argument("--trainer", choices=train.BY_TRAINER, default="grpo", help="trainer of all arms (grpo)")
    training.add_argument("--arms", nargs="+", choices=train.ARMS, default=list(train.ARMS), help="arms (all)")
    training.add_argument("--updates", type=int, default=32, help="updates of a run, of 8 completions each (32)")
    training.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # arm, seed, file of problems
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    verbs_by_name = {"stages": measure_stages, "gradients": measure_gradients, "train": train_and_evaluate}
    try:
        verbs_by_name[arguments.verb](arguments)
    except BadInputError as error:
        parser.error(str(error))


def add_arguments(parser: argparse.ArgumentParser, problems: int) -> None:
    """Add the arguments of both verbs. `problems` is the number of problems at a time."""
    add, data = parser.add_argument, os.environ.get("STEPCODER_DATA")
    add("--model", required=True, help="folder of a pretrained model with a chat template")
    add("--data", type=Path, default=data, required=data is None, help="folder of problems (STEPCODER_DATA)")
    add("--out", type=Path, default=Path("docs/results/real_model"), help="folder of results (%(default)s)")
    add("--minutes", type=float, default=60.0, help="time of this sitting, 0 for the report alone (60)")
    add("--sets", nargs="+", choices=FILES, default=list(FILES), help="sets of problems (all)")
    add("--samples", type=int, default=4, help="samples of each stage (4)")
    add("--new-tokens", type=int, default=256, help="most tokens of a completion (256)")
    add("--prompt-tokens", type=int, default=700, help="most tokens of a query from scratch (700)")
    add("--solution-tokens", type=int, default=250, help="most tokens of a solution (250)")
    add("--temperature", type=float, default=0.8, help="temperature (0.8)")
    add("--top-p", type=float, default=0.9, help="nucleus probability (0.9)")
    add("--dtype", default="bfloat16", help="data type of the weights (bfloat16)")
    add("--problems", type=int, default=problems, help="problems at a time (%(default)s)")
    add("--batch-size", type=int, default=64, help="completions at a time (64)")


if __name__ == "__main__":
    main()
