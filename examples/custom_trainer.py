"""
Construct `StepCoderPPOTrainer` directly: own problems, two rewards, LoRA, and a look at every update.

    python examples/custom_trainer.py --output_dir runs/custom_trainer

A model of 0.3 million parameters is first fine-tuned on solutions of which half have the comparison the wrong way
round. Then PPO trains LoRA adapters, for about a minute on a CPU. The last lines compare the first five updates with
the last five, and name the folder of the adapters:

    passing: 0.63 at first, 0.87 at the end
    saved to runs/custom_trainer

The numbers differ a little between machines. For a model of your own, pass its name as `model` and leave out the
tokenizer. For problems in a file use `load_problems`.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Iterator
from statistics import mean
from typing import Any

import torch
from peft import LoraConfig

from stepcoder_trl import Problem, StepCoderPPOConfig, StepCoderPPOTrainer
from stepcoder_trl.quickstart.problems import Demonstration
from stepcoder_trl.quickstart.tiny_model import SFTConfig, TinyModelConfig, build_model, build_tokenizer, fine_tune
from stepcoder_trl.rewards import unit_test_reward


SOLUTION = "def f(x):\n    if x > {n}:\n        return {high}\n    return {low}\n"


def problem(n: int, high: str, low: str) -> Problem:
    """Return one problem. Its tests may have any of the five forms."""
    names = {"x": "x", "0": "zero", "-x": "minus x"}
    values = {"x": lambda x: x, "0": lambda x: 0, "-x": lambda x: -x}
    outputs = [values[low](n - 1), values[low](n), values[high](n + 1)]
    return Problem(
        task_id=f"above/{n}/{high}/{low}",
        prompt=f"Write f(x): {names[high]} if x is above {n}, else {names[low]}.\n",
        starter_code="def f(x):\n",
        canonical_solution=SOLUTION.format(n=n, high=high, low=low),
        tests={"type": "call", "fn_name": "f", "inputs": [[n - 1], [n], [n + 1]], "outputs": outputs},
    )


PROBLEMS = [problem(n, high, low) for n in range(2, 10) for high, low in itertools.permutations(("x", "0", "-x"), 2)]


def brevity_reward(completions: list[str], **columns: Any) -> list[float]:
    """Score minus a hundredth per character. A reward of your own has TRL's signature."""
    return [-len(text) / 100 for text in completions]


def demonstrations(seed: int) -> Iterator[Demonstration]:
    """Yield the solutions, half of them with the comparison the wrong way round, in random order without end."""
    draw = random.Random(seed)
    while True:
        one = draw.choice(PROBLEMS)
        program = one.canonical_solution if draw.random() < 0.5 else one.canonical_solution.replace(" > ", " < ")
        yield Demonstration(str(one.prompt), one.starter_code, program, log_probability=0.0)


def fine_tuned_model(seed: int, steps: int) -> tuple[Any, Any]:
    """Return a tiny model that writes valid programs, and its tokenizer."""
    tokenizer = build_tokenizer(one.prompt + one.program for one in itertools.islice(demonstrations(seed), 500))
    model = build_model(tokenizer, TinyModelConfig(), seed)
    fine_tune(model, tokenizer, demonstrations(seed), SFTConfig(steps, warmup_steps=10, batches_sorted_together=1))
    return model, tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", default="runs/custom_trainer")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--sft_steps", type=int, default=200)
    flags = parser.parse_args()
    torch.set_num_threads(1)  # more threads slow a model of this size down
    model, tokenizer = fine_tuned_model(seed=0, steps=flags.sft_steps)
    args = StepCoderPPOConfig(
        output_dir=flags.output_dir,
        per_device_train_batch_size=32,  # 8 problems with 8 completions each make an update
        gradient_accumulation_steps=2,
        num_generations=8,
        max_steps=flags.updates,
        response_length=40,
        learning_rate=1e-3,  # the model is 20,000 times smaller than the paper's
        value_learning_rate=1e-3,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
    )
    trainer = StepCoderPPOTrainer(
        args,
        tokenizer,
        model,
        train_dataset=PROBLEMS,
        reward_funcs=[unit_test_reward, brevity_reward],
        reward_weights=[1.0, 0.1],
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
    )
    passing: list[float] = []
    trainer.on_update = lambda update: passing.append(update.metrics["executor/passed"])
    trainer.train()
    trainer.save_model()
    print(f"passing: {mean(passing[:5]):.2f} at first, {mean(passing[-5:]):.2f} at the end")
    print(f"saved to {flags.output_dir}")


if __name__ == "__main__":
    main()
