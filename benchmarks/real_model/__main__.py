"""
StepCoder on a pretrained code model: pass rates of the stages, without training.

    python -m benchmarks.real_model stages --model qwen --data DATA --minutes 60

DATA is a folder with `mbpp.jsonl` and `apps_plus_valid.jsonl`. Problems come in a random order that is fixed, the sets
in turn. So a measurement that stops at any time is one of a random sample, and the same command goes on with it.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from benchmarks.real_model.problems import FILES, load_tasks
from benchmarks.real_model.samplers import load_sampler
from benchmarks.real_model.stages import Measurement, SampleFile, measure_all
from benchmarks.real_model.summary import summarize, tables
from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import SamplingConfig
from stepcoder_trl.jsonl import write_json, write_text
from stepcoder_trl.versions import versions


# Settings on which the samples depend. A file of samples has one set of them.
SETTINGS = ("sets", "samples", "prompt_tokens", "solution_tokens", "new_tokens", "temperature", "top_p", "dtype")


def measure_stages(arguments: argparse.Namespace) -> None:
    """Sample the stages of the next problems."""
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    settings: dict[str, Any] = {name: getattr(arguments, name) for name in SETTINGS}
    settings["model"] = Path(arguments.model).resolve().name
    file = SampleFile(arguments.out / "stages.jsonl", settings)
    lengths = arguments.prompt_tokens, arguments.solution_tokens
    tasks = load_tasks(arguments.data, arguments.sets, tokenizer, *lengths)
    print(f"{len(tasks)} problems, {len(file.rows)} of them measured", flush=True)
    sampling = SamplingConfig(arguments.new_tokens, arguments.temperature, arguments.top_p, tokenizer.eos_token_id)
    sample, eos = load_sampler(
        arguments.model, tokenizer, sampling, arguments.batch_size, arguments.dtype, sum(lengths)
    )
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        measurement = Measurement(sample, tokenizer, eos, executor, arguments.samples)
        for _ in measure_all(tasks, file, measurement, arguments.problems, 60 * arguments.minutes):
            print(f"{len(file.rows)} problems measured", flush=True)
    report_stages(file, settings, arguments.out)


def report_stages(file: SampleFile, settings: Mapping[str, Any], out: Path) -> None:
    """Write `stages.json` and `stages.md`, and print the tables."""
    found = summarize(file.rows)
    machine = f"{platform.platform()}, {os.cpu_count()} cores"
    write_json(out / "stages.json", {"settings": settings, "versions": versions(), "machine": machine, **found})
    text = tables(found, settings)
    write_text(out / "stages.md", text)
    print(text)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    add = verbs.add_parser("stages", help="sample each stage of real problems, without training").add_argument
    data = os.environ.get("STEPCODER_DATA")
    add("--model", required=True, help="folder of a pretrained model with a chat template")
    add("--data", type=Path, default=data, required=data is None, help="folder of problems (STEPCODER_DATA)")
    add("--out", type=Path, default=Path("docs/results/real_model"), help="folder of results (%(default)s)")
    add("--minutes", type=float, default=60.0, help="time of this sitting (60)")
    add("--sets", nargs="+", choices=FILES, default=list(FILES), help="sets of problems (all)")
    add("--samples", type=int, default=4, help="samples of each stage (4)")
    add("--new-tokens", type=int, default=256, help="most tokens of a completion (256)")
    add("--prompt-tokens", type=int, default=700, help="most tokens of a query from scratch (700)")
    add("--solution-tokens", type=int, default=250, help="most tokens of a solution (250)")
    add("--temperature", type=float, default=0.8, help="temperature (0.8)")
    add("--top-p", type=float, default=0.9, help="nucleus probability (0.9)")
    add("--dtype", default="bfloat16", help="data type of the weights (bfloat16)")
    add("--problems", type=int, default=4, help="problems at a time (4)")
    add("--batch-size", type=int, default=64, help="completions at a time (64)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        measure_stages(arguments)
    except BadInputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
