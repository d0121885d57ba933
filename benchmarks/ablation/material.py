"""What all arms of a seed start from: the same problems and the same fine-tuned model, made once and kept."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.ablation.files import locked
from benchmarks.ablation.settings import Corpus, Setting, digest
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.quickstart.problems import noisy_demonstrations, synthetic_problems
from stepcoder_trl.quickstart.tiny_model import (
    SFTConfig,
    TinyModelConfig,
    build_model,
    build_tokenizer,
    fine_tune,
)


HELDOUT_SEED = 1_000_000  # added to the seed: held-out problems are drawn from a stream of their own
TOKENIZER_TEXTS = 1000
LAST_STEPS = 50  # of fine-tuning: single batches differ
SPARE_TOKENS = 8  # of a completion, beyond the longest solution


@dataclass(frozen=True)
class Material:
    """
    What a run starts from.

    Attributes:
        training (`list[Problem]`): Problems to train on, with the tests of training.
        evaluated (`dict[str, list[Problem]]`): Those and held-out ones, with all tests.
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]): Tokenizer.
        model ([`~transformers.LlamaForCausalLM`]): Fine-tuned model.
        response_length (`int`): Most tokens of a completion.
        sft (`dict[str, float]`): Loss of fine-tuning and the floor that no model can beat, in nats per token.
        digest (`str`): Digest of problems and weights: runs can be paired where it is the same.
    """

    training: list[Problem]
    evaluated: dict[str, list[Problem]]
    tokenizer: PreTrainedTokenizerFast
    model: LlamaForCausalLM
    response_length: int
    sft: dict[str, float]
    digest: str


def prepare(setting: Setting, seed: int, folder: Path) -> Material:
    """
    Load what a run starts from; what is not there is made.

    Args:
        setting ([`Setting`]):
            Family and sizes.
        seed (`int`):
            Seed of problems, model and fine-tuning.
        folder (`Path`):
            Where it is kept.

    Returns:
        [`Material`]
    """
    problems = _problems(setting, seed, folder)
    checkpoint = fine_tuned(setting.corpus, seed, folder)
    rows = [problem.to_row() for problems_ in problems.values() for problem in problems_]
    weights = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    solutions = (problem.canonical_solution for problems_ in problems.values() for problem in problems_)
    return Material(
        training=[with_first_tests(problem, setting.training_tests) for problem in problems["training"]],
        evaluated=problems,
        tokenizer=tokenizer,
        model=LlamaForCausalLM.from_pretrained(checkpoint).eval(),
        response_length=max(len(tokenizer(solution)["input_ids"]) for solution in solutions) + SPARE_TOKENS,
        sft=json.loads((checkpoint / "sft.json").read_text()),
        digest=digest([rows, weights]),
    )


def with_first_tests(problem: Problem, number: int | None) -> Problem:
    """The problem with the first of its tests, which are those that tell most wrong programs apart."""
    tests = {name: values[:number] for name, values in problem.tests.items() if name in ("inputs", "outputs")}
    return replace(problem, tests={**problem.tests, **tests})


def _problems(setting: Setting, seed: int, folder: Path) -> dict[str, list[Problem]]:
    """Problems to train on and held-out ones, with all tests."""
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


def fine_tuned(corpus: Corpus, seed: int, folder: Path) -> Path:
    """
    Folder of the model that is fine-tuned on a corpus, with its tokenizer and `sft.json`.

    The corpus may hold the prompt of a problem (where there are more than two arms the chance is nil), but its
    programs are as wrong there as anywhere.
    """

    def tune(made: Path) -> None:
        noisy = {"easy_accuracy": corpus.easy_accuracy, "hard_accuracy": corpus.hard_accuracy}
        texts = itertools.islice(noisy_demonstrations(seed, corpus.dials, **noisy), TOKENIZER_TEXTS)
        tokenizer = build_tokenizer(one.prompt + one.program for one in texts)
        model = build_model(tokenizer, TinyModelConfig(), seed)
        settings = SFTConfig(num_steps=corpus.steps, warmup_steps=min(50, corpus.steps // 4))
        steps = fine_tune(model, tokenizer, noisy_demonstrations(seed, corpus.dials, **noisy), settings)
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        last = steps[-LAST_STEPS:]
        figures = {"loss": fmean(step.loss for step in last), "floor": fmean(step.floor for step in last)}
        (made / "sft.json").write_text(json.dumps(figures) + "\n")

    return _once(folder / "sft" / f"{digest(asdict(corpus))}-seed{seed}", tune)


def _once(target: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder unless it is there; of several processes one makes it, and the others wait."""
    with locked(target):
        if not target.exists():
            made = target.with_suffix(".tmp")
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            make(made)
            os.replace(made, target)
    return target
