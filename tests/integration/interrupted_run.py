"""
Training run to which tests send signals, also as a process of its own: `WAIT_AT OUTPUT_DIR`.

The run prints one line per event: `solutions`, `generate N`, `update N`, `save N`, `evaluate N`, with N updates done.
At `WAIT_AT` it prints `waiting` and waits until a signal has been noted. If `WAIT_AT` ends with `twice`, it waits
until a signal ends it.
"""

from __future__ import annotations

import signal
import sys
import time

import torch
from transformers import LlamaForCausalLM

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from tests.conftest import SMALL_RUN, make_tokenizer, sign_problems, tiny_config


NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Announcing(StepCoderPPOTrainer):
    """Trainer that prints its events, and waits for a signal at one of them."""

    wait_at = ""

    def reached(self, event: str) -> None:
        print(event, flush=True)
        self.events = [*getattr(self, "events", ()), event]
        if event == self.wait_at.removesuffix(" twice"):
            print("waiting", flush=True)
            while self.wait_at.endswith("twice") or not self.signals.noted:
                time.sleep(0.01)

    def check_solutions(self):
        self.reached("solutions")
        return super().check_solutions()

    def generate_rollout(self, starts, sampling=None):
        rollout = super().generate_rollout(starts, sampling)
        self.reached(f"{'evaluate' if sampling else 'generate'} {self.state.global_step}")
        return rollout

    def update_models(self, experience):
        self.reached(f"update {self.state.global_step}")
        return super().update_models(experience)

    def save_model(self, output_dir=None, _internal_call=False):
        self.reached(f"save {self.state.global_step}")
        super().save_model(output_dir, _internal_call)


def make_trainer(output_dir: str) -> Announcing:
    problems = sign_problems()
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    evaluation = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 1}
    own = {"output_dir": output_dir, "max_steps": 3, "save_steps": 2, "executor_workers": 1}
    args = StepCoderPPOConfig(**{**SMALL_RUN, **own, **evaluation})
    model = LlamaForCausalLM(tiny_config(tokenizer))
    return Announcing(args, tokenizer, model, train_dataset=problems, eval_dataset=problems[:2])


def main(wait_at: str, output_dir: str) -> None:
    trainer = make_trainer(output_dir)
    trainer.wait_at = wait_at
    handlers = [signal.getsignal(number) for number in NUMBERS]
    try:
        trainer.train()
    finally:
        if handlers != [signal.getsignal(number) for number in NUMBERS]:
            print("handlers lost", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
