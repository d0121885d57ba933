"""The problems and the fine-tuned model from which all arms of a seed start. They are made once and kept."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.ablation.files import locked
from benchmarks.ablation.settings import Setting, digest
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.quickstart.problems import noisy_demonstrations, synthetic_problems
from stepcoder_trl.quickstart.tiny_model import SFTConfig, TinyModelConfig, build_model, build_tokenizer, fine_tune


HELDOUT_SEED = 1_000_000  # added to the seed for drawing held-out problems
TOKENIZER_TEXTS = 1000
LAST_STEPS = 50  # of fine-tuning, over which the loss is averaged
SPARE_TOKENS = 8  # that a completion may be longer than the longest solution


@dataclass(frozen=True)
class Material:
    """Problems, fine-tuned model and tokenizer from which a run starts."""

    training: list[Problem]  # with the tests and solutions for training
    evaluated: dict[str, list[Problem]]  # training and held-out problems, with all tests
    tokenizer: PreTrainedTokenizerFast
    model: LlamaForCausalLM
    response_length: int
    sft: dict[str, float]  # loss of fine-tuning and its lower bound, in nats per token
    digest: str  # of problems and weights; runs with the same digest can be paired


def prepare(setting: Setting, seed: int, folder: Path) -> Material:
    """Load the material of a run from the folder, and make the missing parts."""
    problems = _problems(setting, seed, folder)
    checkpoint = fine_tuned(setting, seed, folder)
    rows = [problem.to_row() for problems_ in problems.values() for problem in problems_]
    weights = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    solutions = (problem.canonical_solution for problems_ in problems.values() for problem in problems_)
    return Material(
        training=for_training(problems["training"], setting),
        evaluated=problems,
        tokenizer=tokenizer,
        model=LlamaForCausalLM.from_pretrained(checkpoint).to(setting.device).eval(),
        response_length=max(len(tokenizer(solution)["input_ids"]) for solution in solutions) + SPARE_TOKENS,
        sft=json.loads((checkpoint / "sft.json").read_text()),
        digest=digest([rows, weights]),
    )


def for_training(problems: Sequence[Problem], setting: Setting) -> list[Problem]:
    """Return the problems with the tests for training. Those after the first `num_solutions` have no solution."""
    found = [with_first_tests(problem, setting.training_tests) for problem in problems]
    if setting.num_solutions is None:
        return found
    unsolved = (replace(problem, canonical_solution="") for problem in found[setting.num_solutions :])
    return [*found[: setting.num_solutions], *unsolved]


def with_first_tests(problem: Problem, number: int | None) -> Problem:
    """Return the problem with only its first tests, which detect the most wrong programs. `None` keeps all tests."""
    tests = {name: values[:number] for name, values in problem.tests.items() if name in ("inputs", "outputs")}
    return replace(problem, tests={**problem.tests, **tests})


def _problems(setting: Setting, seed: int, folder: Path) -> dict[str, list[Problem]]:
    """Return the training and held-out problems with all tests."""
    sizes = {"training": setting.num_problems, "heldout": setting.num_heldout}
    key = digest([asdict(setting.dials), sizes])

    def draw(made: Path) -> None:
        heldout = synthetic_problems(sizes["heldout"], seed + HELDOUT_SEED, setting.dials)
        prompts = {str(problem.prompt) for problem in heldout}
        training = synthetic_problems(sizes["training"], seed, setting.dials, exclude=prompts)
        for name, problems in {"training": training, "heldout": heldout}.items():
            rows = (json.dumps(problem.to_row()) + "\n" for problem in problems)
            (made / f"{name}.jsonl").write_text("".join(rows))

    kept = _once(folder / "problems" / f"{key}-seed{seed}", draw)
    return {
        name: [Problem.from_row(json.loads(line)) for line in (kept / f"{name}.jsonl").read_text().splitlines()]
        for name in sizes
    }


def fine_tuned(setting: Setting, seed: int, folder: Path) -> Path:
    """
    Return the folder of the model that is fine-tuned on a setting's corpus, with its tokenizer and `sft.json`.

    With fewer than three arms the corpus may contain the prompt of a problem. Its programs for such a prompt have as
    many errors as all others.
    """

    corpus, size = setting.corpus, setting.model

    def tune(made: Path) -> None:
        noisy = {"easy_accuracy": corpus.easy_accuracy, "hard_accuracy": corpus.hard_accuracy}
        texts = itertools.islice(noisy_demonstrations(seed, corpus.dials, **noisy), TOKENIZER_TEXTS)
        tokenizer = build_tokenizer(one.prompt + one.program for one in texts)
        model = build_model(tokenizer, size, seed).to(setting.device)
        settings = SFTConfig(num_steps=corpus.steps, warmup_steps=min(50, corpus.steps // 4))
        steps = fine_tune(model, tokenizer, noisy_demonstrations(seed, corpus.dials, **noisy), settings)
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        last = steps[-LAST_STEPS:]
        figures = {"loss": fmean(step.loss for step in last), "floor": fmean(step.floor for step in last)}
        (made / "sft.json").write_text(json.dumps(figures) + "\n")

    sized = asdict(corpus) if size == TinyModelConfig() else {**asdict(corpus), "model": asdict(size)}
    return _once(folder / "sft" / f"{digest(sized)}-seed{seed}", tune)


def _once(target: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder unless it exists. If several processes ask for it, one makes it and the others wait."""
    with locked(target):
        if not target.exists():
            made = target.with_suffix(".tmp")
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            make(made)
            os.replace(made, target)
    return target
