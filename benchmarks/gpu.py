"""
What our trainers do on one GPU: precision, speed, memory, waiting, and the ablation on a larger model.

    python benchmarks/gpu.py --minutes 10 --out docs/results/gpu
    python benchmarks/gpu.py --minutes 10 --model DIR --wheels DIR --out out    # on a bare machine with PyTorch
    python benchmarks/gpu.py --cpu --out out                                    # tiny sizes, to see that it runs

Each part runs in a process of its own and adds its figures to `gpu.json` as soon as it ends. Parts that the file has
are not run again, so the same command continues. A part that the time left does not suffice for is left out. The last
part takes what is left. `tables.md` has the figures as tables.

    precision   one update in bfloat16 on the GPU against the same update in float32 on the CPU, by PPO and by GRPO,
                of the same completions: relative difference of the change of the weights, and its cosine
    ppo, grpo   seconds, completion tokens per second, peak memory and the share of the time that waits for programs,
                of an update of ours and of upstream's
    generation  tokens per second of our sampler by batch size
    arms        PPO, StepCoder and their kin by GRPO on a larger model from scratch, with as many seeds as fit
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[1]
UPDATES = 4  # per measurement of speed, the first not counted
QUERY_TOKENS = 64
# Learning rate of a plain gradient step: the change of the weights is then the gradient times this number.
STEP = 1e-2
# A step in bfloat16 may differ by so much, relative to its length. Its products have eight bits, a precision of 0.4 %.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Size:
    """Sizes of the measurements of speed."""

    hidden: int
    layers: int
    vocabulary: int
    batch: int  # completions of an update
    micro_batch: int
    length: int  # tokens of a completion
    batches: tuple[int, ...]  # of generation


GPU = Size(hidden=896, layers=24, vocabulary=32_000, batch=64, micro_batch=16, length=512, batches=(16, 64, 256))
CPU = Size(hidden=32, layers=2, vocabulary=400, batch=8, micro_batch=4, length=16, batches=(2, 4))
SMALL = Size(hidden=128, layers=4, vocabulary=400, batch=8, micro_batch=4, length=64, batches=())  # for precision


@dataclass(frozen=True)
class Part:
    """Measurement in a process of its own."""

    measure: Callable[[argparse.Namespace], Any]
    minutes: float  # that must be left to begin it


# Models and trainers


def make_model(arguments: argparse.Namespace, size: Size, kind: str = "AutoModelForCausalLM") -> Any:
    """Return the given model, or one with random weights and the size of a model of half a billion parameters."""
    import torch
    import transformers

    torch.manual_seed(0)
    heads = max(1, size.hidden // 64)
    config = transformers.LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=5 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=4096,
        num_labels=1,
        pad_token_id=0,
        eos_token_id=1,
    )
    if arguments.model and size is not SMALL:
        return getattr(transformers, kind).from_pretrained(arguments.model, dtype=torch.float32, num_labels=1)
    return getattr(transformers, kind).from_config(config)


def make_tokenizer(arguments: argparse.Namespace, size: Size) -> Any:
    """Return the tokenizer of the given model, or one of bytes."""
    from transformers import AutoTokenizer

    from benchmarks.replay import byte_tokenizer

    if arguments.model and size is not SMALL:
        return AutoTokenizer.from_pretrained(arguments.model, padding_side="left")
    return byte_tokenizer(size.vocabulary)


def shared_settings(size: Size, folder: str, cpu: bool, bf16: bool) -> dict[str, Any]:
    """Return the settings that all trainers share."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": size.micro_batch,
        "gradient_accumulation_steps": size.batch // size.micro_batch,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": cpu,
        "bf16": bf16,
    }


def ppo_trainer(arguments: argparse.Namespace, size: Size, settings: dict[str, Any], **options: Any) -> Any:
    """Return our PPO trainer on problems with tests."""
    from benchmarks.replay import problems
    from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer

    config = StepCoderPPOConfig(
        **settings, num_mini_batches=1, num_generations=4, response_length=size.length, top_p=1.0, **options
    )
    return StepCoderPPOTrainer(
        config,
        make_tokenizer(arguments, size),
        make_model(arguments, size),
        make_model(arguments, size),
        train_dataset=problems(size.batch, QUERY_TOKENS),
        value_model=make_model(arguments, size, "AutoModelForSequenceClassification"),
    )


def grpo_trainer(arguments: argparse.Namespace, size: Size, settings: dict[str, Any], **options: Any) -> Any:
    """Return our GRPO trainer on problems with tests."""
    from benchmarks.replay import problems
    from stepcoder_trl import StepCoderGRPOConfig, StepCoderGRPOTrainer

    config = StepCoderGRPOConfig(**settings, num_generations=4, max_completion_length=size.length, **options)
    return StepCoderGRPOTrainer(
        make_model(arguments, size),
        args=config,
        train_dataset=problems(size.batch, QUERY_TOKENS),
        processing_class=make_tokenizer(arguments, size),
    )


def upstream_ppo(arguments: argparse.Namespace, size: Size, settings: dict[str, Any]) -> Any:
    """Return TRL's PPO trainer, with a reward model too small to matter. `None` where TRL has none."""
    from datasets import Dataset

    from benchmarks.replay import STARTER_CODE, prompt
    from stepcoder_trl.trainer._trl import ships_ppo_trainer
    from stepcoder_trl.versions import versions

    if not ships_ppo_trainer(versions()["trl"]):
        return None
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    tokenizer = make_tokenizer(arguments, size)
    ids = tokenizer(prompt(QUERY_TOKENS) + STARTER_CODE.strip())["input_ids"]
    config = PPOConfig(
        **settings,
        num_mini_batches=1,
        num_ppo_epochs=1,
        response_length=size.length,
        num_sample_generations=0,
        total_episodes=size.batch * UPDATES,
        stop_token_id=tokenizer.eos_token_id,
    )
    tiny = Size(hidden=16, layers=1, vocabulary=len(tokenizer), batch=0, micro_batch=0, length=0, batches=())
    bare = argparse.Namespace(model=None)
    return PPOTrainer(
        config,
        tokenizer,
        make_model(arguments, size),
        make_model(arguments, size),
        make_model(bare, tiny, "AutoModelForSequenceClassification"),
        Dataset.from_list([{"input_ids": ids}] * size.batch * 2),
        make_model(arguments, size, "AutoModelForSequenceClassification"),
        eval_dataset=Dataset.from_list([{"input_ids": ids}]),
    )


def upstream_grpo(arguments: argparse.Namespace, size: Size, settings: dict[str, Any]) -> Any:
    """Return TRL's GRPO trainer, with a reward that costs nothing."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from benchmarks.replay import STARTER_CODE, prompt

    def parity(completion_ids: Any, **_: Any) -> list[float]:
        return [float(len(ids) % 2) for ids in completion_ids]

    text = prompt(QUERY_TOKENS) + STARTER_CODE.strip()
    return GRPOTrainer(
        make_model(arguments, size),
        parity,
        GRPOConfig(**settings, max_steps=UPDATES, num_generations=4, max_completion_length=size.length),
        Dataset.from_list([{"prompt": text}] * size.batch),
        processing_class=make_tokenizer(arguments, size),
    )


# Parts


def precision(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare an update in bfloat16 with the same one in float32 on the CPU."""
    from benchmarks.replay import byte_tokenizer, completions, replay_for_grpo, replay_for_ppo

    table = completions(SMALL.batch, SMALL.length, byte_tokenizer(SMALL.vocabulary))

    def change(algorithm: str, cpu: bool, bf16: bool) -> Any:
        """Return the change of the policy's weights by one gradient step, as one vector."""
        import torch

        with tempfile.TemporaryDirectory() as folder:
            settings = shared_settings(SMALL, folder, cpu, bf16)
            settings |= {"optim": "sgd", "learning_rate": STEP, "max_grad_norm": 1e9, "seed": 0, "max_steps": 1}
            settings |= {"gradient_checkpointing": False, "lr_scheduler_type": "constant"}
            if algorithm == "ppo":
                trainer = ppo_trainer(arguments, SMALL, settings)
                trainer.generate = replay_for_ppo(table)
                policy = trainer.accelerator.unwrap_model(trainer.model).policy
            else:
                trainer = grpo_trainer(arguments, SMALL, settings)
                policy = trainer.model
                policy.generate = replay_for_grpo(table)
            before = torch.nn.utils.parameters_to_vector(policy.parameters()).detach().double().cpu()
            trainer.train()
            after = torch.nn.utils.parameters_to_vector(policy.parameters()).detach().double().cpu()
        return after - before

    found = {}
    for algorithm in ("ppo", "grpo"):
        exact = change(algorithm, cpu=True, bf16=False)
        rough = change(algorithm, cpu=arguments.cpu, bf16=True)
        difference = float((rough - exact).norm() / exact.norm())
        found[algorithm] = {
            "relative_difference": difference,
            "cosine": float(exact @ rough / (exact.norm() * rough.norm())),
            "within_tolerance": difference < TOLERANCE,
        }
    return found


def measure_updates(make: Callable[..., Any], arguments: argparse.Namespace, **options: Any) -> dict[str, Any] | None:
    """Train for some updates. Return the medians of their figures, the first update left out."""
    import torch
    from transformers import TrainerCallback

    marks: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        """Records the time and the peak memory at the end of each update."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
            marks.append((time.perf_counter(), peak / 2**30))

    size = CPU if arguments.cpu else GPU
    with tempfile.TemporaryDirectory() as folder:
        settings = shared_settings(size, folder, arguments.cpu, bf16=not arguments.cpu)
        trainer = make(arguments, size, {**settings, "gradient_checkpointing": True}, **options)
        if trainer is None:
            return None
        trainer.add_callback(Clock())
        trainer.train()
    walls = [later[0] - earlier[0] for earlier, later in itertools.pairwise(marks)]
    waits = [entry["executor/wait_s"] for entry in trainer.state.log_history if "executor/wait_s" in entry]
    wall_s = statistics.median(walls)
    return {
        "wall_s": wall_s,
        "tokens_per_s": size.batch * size.length / wall_s,
        "peak_gib": max(peak for _, peak in marks),
        "wait_share": statistics.median(waits[1:]) / wall_s if waits else None,
    }


def ppo(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure updates by PPO."""
    size = CPU if arguments.cpu else GPU
    ours = measure_updates(ppo_trainer, arguments, total_episodes=size.batch * UPDATES)
    return {"ours": ours, "upstream": measure_updates(upstream_ppo, arguments)}


def grpo(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure updates by GRPO."""
    ours = measure_updates(grpo_trainer, arguments, max_steps=UPDATES)
    return {"ours": ours, "upstream": measure_updates(upstream_grpo, arguments)}


def generation(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure our sampler."""
    import torch

    from benchmarks.replay import STARTER_CODE, prompt
    from stepcoder_trl.evaluation.generation import SamplingConfig, generate
    from stepcoder_trl.steps.queries import build_query

    size = CPU if arguments.cpu else GPU
    device = "cpu" if arguments.cpu else "cuda"
    tokenizer = make_tokenizer(arguments, size)
    model = make_model(arguments, size).to(device, torch.float32 if arguments.cpu else torch.bfloat16).eval()
    query = build_query(prompt(QUERY_TOKENS), STARTER_CODE, tokenizer)
    found = {}
    for batch in size.batches:
        begun_s = time.perf_counter()
        sampling = SamplingConfig(size.length, temperature=0.8, top_p=0.9)
        made = generate(model, [query] * batch, tokenizer, sampling, batch_size=batch)
        found[str(batch)] = int(made.lengths.sum()) / (time.perf_counter() - begun_s)
    return found


def arms(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the ablation's arms on the larger model until the time is up. Return the figures of the finished runs."""
    work = arguments.out / "ablation"
    setting, seeds = ("smoke", ["0"]) if arguments.cpu else ("large", [str(seed) for seed in range(20)])
    names = ["sft", "ppo", "stepcoder", "grpo", "grpo_stepcoder"]
    command = [sys.executable, "-m", "benchmarks.ablation", "--work", str(work.absolute()), "--settings", setting]
    command += ["--arms", *names, "--seeds", *seeds, "--processes", str(max(2, (os.cpu_count() or 2) // 2))]
    command += ["--smoke"] if arguments.cpu else ["--out", str(work.absolute() / "report")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(timeout=arguments.seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 15)
        process.wait()
        subprocess.run([*command, "--report"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    report = work / ("smoke" if arguments.cpu else "report") / "results.json"
    reported = json.loads(report.read_text()) if report.exists() else {}
    return {name: figures["arms"] for name, figures in reported.items()}


PARTS = {
    "precision": Part(precision, 1.0),
    "grpo": Part(grpo, 1.5),
    "ppo": Part(ppo, 1.5),
    "generation": Part(generation, 0.5),
    "arms": Part(arms, 1.0),
}


# All parts


def run_parts(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the missing parts, each in a process of its own, until the time is up. Return the figures of all."""
    deadline_s = time.monotonic() + 60 * arguments.minutes
    path = arguments.out / "gpu.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"machine": machine(), "parts": {}}
    for name, part in PARTS.items():
        left_s = deadline_s - time.monotonic()
        if name in found["parts"] or name not in arguments.parts:
            continue
        if left_s < 60 * part.minutes:
            print(f"{name}: left out, {left_s:.0f} s are too few. Run the same command again.", flush=True)
            continue
        begun_s = time.monotonic()
        figures = run_part(name, arguments, left_s)
        if figures is not None:
            found["parts"][name] = figures
            write_json(path, found)
        print(f"{name}: {time.monotonic() - begun_s:.0f} s, {'done' if figures is not None else 'FAILED'}", flush=True)
    return found


def run_part(name: str, arguments: argparse.Namespace, left_s: float) -> Any:
    """Run a part in a process of its own. Return its figures, `None` if it failed or took too long."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        command = [sys.executable, __file__, "--part", name, "--figures", str(figures), "--out", str(arguments.out)]
        command += ["--seconds", str(max(1.0, left_s - 20))]  # to report what is finished
        command += ["--cpu"] if arguments.cpu else []
        command += ["--model", str(arguments.model)] if arguments.model else []
        quiet = {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "0"}
        threads = {"OMP_NUM_THREADS": "1"} if arguments.cpu else {}
        with (arguments.out / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, **quiet, **threads, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
            try:
                process.wait(timeout=left_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
        return json.loads(figures.read_text()) if figures.exists() else None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file at once."""
    made = path.with_suffix(".tmp")
    made.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(made, path)


def machine() -> dict[str, Any]:
    """Return what ran."""
    import torch

    from stepcoder_trl.versions import versions

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"gpu": gpu, "cores": os.cpu_count(), "versions": versions(), "date": time.strftime("%Y-%m-%d")}


def tables(found: dict[str, Any]) -> str:
    """Return the figures as tables in Markdown."""
    parts = found["parts"]
    lines = [f"{found['machine']['gpu'] or 'No GPU: tiny sizes on a CPU, which say nothing about speed'}\n"]
    if "precision" in parts:
        lines += ["| update in bfloat16 | relative difference | cosine |", "|---|---:|---:|"]
        lines += [
            f"| {name.upper()} | {figures['relative_difference']:.4f} | {figures['cosine']:.5f} |"
            for name, figures in parts["precision"].items()
        ]
    for name in ("ppo", "grpo"):
        if name not in parts:
            continue
        lines += ["", f"| update by {name.upper()} | s | tokens/s | peak GiB | waiting |", "|---|---:|---:|---:|---:|"]
        for trainer, figures in parts[name].items():
            if figures is None:
                lines.append(f"| {trainer}: this release of TRL has none | | | | |")
                continue
            waiting = "" if figures["wait_share"] is None else f"{100 * figures['wait_share']:.1f} %"
            lines.append(
                f"| {trainer} | {figures['wall_s']:.2f} | {figures['tokens_per_s']:.0f} | {figures['peak_gib']:.1f} | "
                f"{waiting} |"
            )
    if "generation" in parts:
        lines += ["", "| completions at a time | tokens/s |", "|---:|---:|"]
        lines += [f"| {batch} | {speed:.0f} |" for batch, speed in parts["generation"].items()]
    for setting, arms_ in parts.get("arms", {}).items():
        lines += ["", f"| {setting} | seeds | held-out pass@1 at the end |", "|---|---:|---:|"]
        lines += [f"| {arm} | {len(one['seeds'])} | {one['heldout_end']['mean']:.3f} |" for arm, one in arms_.items()]
    return "\n".join(lines) + "\n"


def install(wheels: Path) -> None:
    """Install what is missing from a folder of wheels, and this package, beside the machine's own PyTorch."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels)]
    subprocess.run([*pip, "--no-build-isolation", "--editable", str(ROOT)], check=True)


def main() -> int:
    """Run the parts, print the tables and write them. Return 1 if a part failed or a figure is out of tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="time that all parts may take (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the figures (%(default)s)")
    parser.add_argument("--model", type=Path, help="folder of a model; without it weights are random")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install missing packages from")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--figures", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        write_json(arguments.figures, PARTS[arguments.part].measure(arguments))
        return 0
    if arguments.wheels:
        install(arguments.wheels)
    sys.path.insert(0, str(ROOT))
    import torch

    if not (arguments.cpu or torch.cuda.is_available()):
        parser.error("PyTorch sees no GPU here. `--cpu` runs tiny sizes on the CPU.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = run_parts(arguments)
    text = tables(found)
    (arguments.out / "tables.md").write_text(text)
    print(text)
    exact = all(one["within_tolerance"] for one in found["parts"].get("precision", {}).values())
    return 0 if exact and set(arguments.parts) <= found["parts"].keys() else 1


if __name__ == "__main__":
    sys.exit(main())
