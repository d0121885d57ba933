"""
Start training runs and kill them: `python -m tests.integration.kill_host`.

One interpreter imports everything and forks a process for each run, so that no run waits for imports. Each line of
standard input is a JSON object `{"folder", "out", "kill_at", "kill_after_s"}`. The answer is `{"status", "cpu_s"}`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from stepcoder_trl.trainer.checkpoints import checkpoints
from tests.conftest import SMALL_RUN, sign_problems, tiny_config


STEPS = ("generate_rollout", "score_completions", "update_curriculum", "save_model")  # of the trainer
UPDATES = 3


class Moments:
    """Counts the moments of a run, which are steps of an update and writes to its folder. Kills it at one of them."""

    def __init__(self, out: str, kill_at: int | None) -> None:
        self.out, self.kill_at = os.path.realpath(out), kill_at
        self.seen: list[str] = []
        sys.addaudithook(self.watch)

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
            return
        path = arguments[0]
        if isinstance(path, (str, os.PathLike)) and self.where(os.fspath(path), arguments).startswith(self.out):
            self.happened(f"{event} {os.path.basename(os.fspath(path))}")

    def where(self, path: str, arguments: tuple[Any, ...]) -> str:
        """Return the absolute path. When a folder is deleted, its files are named relative to a descriptor."""
        descriptor = arguments[-1]
        if isinstance(descriptor, int) and descriptor >= 0 and not os.path.isabs(path):
            return os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), path)
        return os.path.abspath(path)

    def happened(self, name: str) -> None:
        if len(self.seen) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen.append(name)


def train(folder: str, out: str, kill_at: int | None) -> None:
    """Train, or resume from the newest checkpoint. Write moments and final state next to the folder."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    torch.manual_seed(0)
    model = LlamaForCausalLM(tiny_config(tokenizer))
    sizes = {"per_device_train_batch_size": 4, "num_mini_batches": 2, "max_steps": UPDATES, "executor_workers": 1}
    saving = {"save_steps": 1, "save_total_limit": 2}
    mix = {"curriculum": "mix", "curriculum_mix_probability": 0.5}
    # A run that was killed before its first checkpoint left metrics and a record: it is begun anew in their place.
    own = {"output_dir": out, "overwrite_output_dir": True}
    args = StepCoderPPOConfig(**{**SMALL_RUN, **own, **sizes, **saving, **mix})
    moments = Moments(out, kill_at)

    def watch(part: Any, name: str) -> None:
        original = getattr(part, name)

        def watched(*arguments: Any, **keywords: Any) -> Any:
            moments.happened(name)
            return original(*arguments, **keywords)

        setattr(part, name, watched)

    trainer = StepCoderPPOTrainer(args, tokenizer, model, train_dataset=sign_problems())
    for name in STEPS:
        watch(trainer, name)
    watch(trainer.learner, "optimizer_step")
    watch(trainer.run, "end_update")
    trainer.train(resume_from_checkpoint=True if checkpoints(out) else None)
    moments.kill_at = None
    final = {name: p.detach() for name, p in trainer.model.named_parameters()}
    torch.save(final, f"{out}.pt")
    Path(f"{out}.json").write_text(
        json.dumps(
            {"moments": moments.seen, "curriculum": trainer.curriculum.state_dict(), "step": trainer.state.global_step}
        )
    )


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        process = os.fork()
        if process == 0:
            try:
                os.dup2(2, 1)
                if order.get("kill_after_s") is not None:
                    # The kernel kills the process, as with SIGKILL: nothing handles the signal. The time is CPU time,
                    # so that a run on a busy machine is not killed before it begins.
                    signal.signal(signal.SIGPROF, signal.SIG_DFL)
                    signal.setitimer(signal.ITIMER_PROF, order["kill_after_s"])
                train(order["folder"], order["out"], order.get("kill_at"))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status, usage = os.wait4(process, 0)
        answer = {"status": os.waitstatus_to_exitcode(status), "cpu_s": usage.ru_utime + usage.ru_stime}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
