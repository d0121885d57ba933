"""
Time and memory of one update of `StepCoderPPOTrainer` and of TRL's `PPOTrainer` on the same model.

    python benchmarks/trainer.py --out docs/results/trainer
    python benchmarks/trainer.py --lengths 32 --repeats 1 --vocabulary 2000      # a short run

Each measurement runs in a process of its own with one thread. The two trainers take turns. Ours runs with problems,
tests, a curriculum, executed lines and a sandbox with one worker. Upstream's has the same model, queries of as many
tokens, and a reward model too small to matter. There are two settings:

    generated   completions are sampled with top-p 1 and without an early end, so that all have the full length
    replayed    completions of different lengths come from a table, so that generation costs nothing. Upstream takes
                the old log-probabilities from generation and so gets them for nothing too. Ours computes them.

The figures are wall and CPU seconds per update, children included and the first update left out, and the growth of
resident memory from after the trainer's construction to its peak.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[1]
TRAINERS = ("ours", "upstream")
SETTINGS = ("generated", "replayed")
BATCH, MICRO_BATCH, QUERY_TOKENS = 16, 4, 64
UPDATES = 3  # per measurement, the first not counted


# One measurement


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Train for some updates in this process. Return seconds and bytes per update."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    clock = _clock()
    with tempfile.TemporaryDirectory() as folder:
        make = _ours if arguments.trainer == "ours" else _upstream
        trainer = make(arguments, folder, clock)
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        trainer.train()
        peak = _memory("VmHWM")
    columns = zip(*clock.marks, strict=True)
    wall, cpu = ([later - earlier for earlier, later in itertools.pairwise(column)] for column in columns)
    waits = [entry["executor/wait_s"] for entry in trainer.state.log_history if "executor/wait_s" in entry]
    return {
        "wall_s": statistics.median(wall),
        "cpu_s": statistics.median(cpu),
        "extra_bytes": peak - before,
        "wait_share": statistics.median(waits[1:]) / statistics.median(wall) if waits else 0.0,
    }


def _clock() -> Any:
    from transformers import TrainerCallback

    from benchmarks.ways import cpu_of_tree

    class Clock(TrainerCallback):
        """Records wall and CPU time at the end of each update."""

        marks: list[tuple[float, float]] = []  # noqa: RUF012 - one per process

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.marks.append((time.perf_counter(), sum(cpu_of_tree().values())))

    return Clock()


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def _model(arguments: argparse.Namespace, kind: str, size: int = 128, layers: int = 4) -> Any:
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=arguments.vocabulary,
        hidden_size=size,
        intermediate_size=3 * size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        num_labels=1,
        pad_token_id=0,
        eos_token_id=1,
    )
    return getattr(transformers, kind)(config)


def _settings(arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": MICRO_BATCH,
        "gradient_accumulation_steps": BATCH // MICRO_BATCH,
        "num_mini_batches": 1,
        "num_ppo_epochs": 1,
        "response_length": arguments.length,
        "total_episodes": BATCH * UPDATES,
        "learning_rate": 1e-5,
        "logging_steps": 1,
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "bf16": False,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }


def _ours(arguments: argparse.Namespace, folder: str, clock: Any) -> Any:
    from benchmarks import replay
    from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer

    tokenizer = replay.byte_tokenizer(arguments.vocabulary)
    trainer = StepCoderPPOTrainer(
        StepCoderPPOConfig(
            **_settings(arguments, folder), num_generations=4, top_p=1.0, temperature=0.7, executor_workers=1
        ),
        tokenizer,
        _model(arguments, "LlamaForCausalLM"),
        _model(arguments, "LlamaForCausalLM"),
        train_dataset=replay.problems(BATCH, QUERY_TOKENS),
        value_model=_model(arguments, "LlamaForSequenceClassification"),
        callbacks=[clock],
    )
    if arguments.setting == "replayed":
        trainer.generate = replay.replay_for_ppo(replay.completions(BATCH, arguments.length, tokenizer))
    return trainer


def _upstream(arguments: argparse.Namespace, folder: str, clock: Any) -> Any:
    import torch
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer
    from trl.experimental.ppo import ppo_trainer as module

    from benchmarks import replay

    tokenizer = replay.byte_tokenizer(arguments.vocabulary)
    if arguments.setting == "replayed":
        table = replay.completions(BATCH, arguments.length, tokenizer)
        rows = torch.tensor([row + [0] * (arguments.length - len(row)) for row in table])
        logits = torch.randn(BATCH, arguments.length, arguments.vocabulary)
        module.batch_generation = lambda model, queries, *_: (torch.cat([queries, rows], 1), logits)
    ids = tokenizer(replay.prompt(QUERY_TOKENS) + replay.STARTER_CODE.strip())["input_ids"]
    return PPOTrainer(
        PPOConfig(**_settings(arguments, folder), num_sample_generations=0, temperature=0.7, stop_token_id=1),
        tokenizer,
        _model(arguments, "LlamaForCausalLM"),
        _model(arguments, "LlamaForCausalLM"),
        _model(arguments, "LlamaForSequenceClassification", size=16, layers=1),
        Dataset.from_list([{"input_ids": ids}] * BATCH * 2),
        _model(arguments, "LlamaForSequenceClassification"),
        eval_dataset=Dataset.from_list([{"input_ids": ids}]),
        callbacks=[clock],
    )


# All measurements


def compare(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every setting and length with both trainers in turn. Return one row per setting and length."""
    from rich.progress import track

    jobs = [
        (setting, length, trainer)
        for _ in range(arguments.repeats)
        for setting in SETTINGS
        for length in arguments.lengths
        for trainer in TRAINERS
    ]
    found: dict[tuple[str, int, str], list[dict[str, float]]] = {}
    for job in track(jobs, "measuring"):
        found.setdefault(job, []).append(_in_a_process(arguments, *job))
    rows = []
    for setting in SETTINGS:
        for length in arguments.lengths:
            row: dict[str, Any] = {"setting": setting, "response_length": length}
            for trainer in TRAINERS:
                runs = found[setting, length, trainer]
                row[trainer] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                row[trainer]["runs"] = runs
            for key in ("wall_s", "cpu_s", "extra_bytes"):
                pairs = zip(row["ours"]["runs"], row["upstream"]["runs"], strict=True)
                row[f"{key}_ratio"] = statistics.median(ours[key] / upstream[key] for ours, upstream in pairs)
            rows.append(row)
    return rows


def _in_a_process(arguments: argparse.Namespace, setting: str, length: int, trainer: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--trainer", trainer, "--setting", setting, "--length", str(length)]
    command += ["--vocabulary", str(arguments.vocabulary)]
    quiet = {"OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **quiet}, check=False)
    if run.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{run.stderr[-4000:]}")
    result: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return result


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="One update of 16 completions, ours : upstream's, medians")
    for name in ("setting", "length", "wall s", "ratio", "CPU s", "ratio", "extra MiB", "ratio", "wait for programs"):
        table.add_column(name, justify="left" if name == "setting" else "right")
    for row in rows:
        ours, upstream = row["ours"], row["upstream"]
        table.add_row(
            row["setting"],
            str(row["response_length"]),
            f"{ours['wall_s']:.2f} : {upstream['wall_s']:.2f}",
            f"{row['wall_s_ratio']:.2f}",
            f"{ours['cpu_s']:.2f} : {upstream['cpu_s']:.2f}",
            f"{row['cpu_s_ratio']:.2f}",
            f"{ours['extra_bytes'] / 2**20:.0f} : {upstream['extra_bytes'] / 2**20:.0f}",
            f"{row['extra_bytes_ratio']:.2f}",
            f"{100 * ours['wait_share']:.1f} %",
        )
    Console(width=119).print(table)


def main() -> None:
    """Measure, print the table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for trainer.json")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512], help="response lengths (128 512)")
    parser.add_argument("--vocabulary", type=int, default=32000, help="size of the vocabulary (32000)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements per row of the table (5)")
    parser.add_argument("--trainer", choices=TRAINERS, help="measure one trainer in this process and print JSON")
    parser.add_argument("--setting", choices=SETTINGS, default="generated", help="with --trainer")
    parser.add_argument("--length", type=int, default=128, help="with --trainer: response length")
    arguments = parser.parse_args()
    if arguments.trainer:
        print(json.dumps(measure(arguments)))
        return
    rows = compare(arguments)
    show(rows)
    if arguments.out:
        from stepcoder_trl.versions import versions

        arguments.out.mkdir(parents=True, exist_ok=True)
        result = {
            "machine": f"{platform.platform()}, {os.cpu_count()} cores",
            "versions": versions(),
            "arguments": {"vocabulary": arguments.vocabulary, "updates": UPDATES, "batch": BATCH},
            "rows": rows,
        }
        (arguments.out / "trainer.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
