"""
One of two processes that train: `MOMENT OUTPUT_DIR [resume]`.

The second process sends itself SIGTERM at the moment. If the moment is `disk full`, it cannot run any program of the
second update instead.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.steps.programs import Runs
from tests.integration import interrupted_run


class SecondIsStopped(interrupted_run.Announcing):
    """Trainer whose second process alone gets the signal."""

    def reached(self, event: str) -> None:
        if event == sys.argv[1] and self.accelerator.process_index == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def submit_programs(self, rollout: Any) -> Any:
        runs = super().submit_programs(rollout)
        if sys.argv[1] != "disk full" or self.accelerator.process_index == 0 or self.state.global_step == 0:
            return runs
        lost: Future[Any] = Future()
        lost.set_exception(SandboxError("No space left on device."))
        return Runs([lost] * len(runs.futures))


if __name__ == "__main__":
    interrupted_run.Announcing = SecondIsStopped
    trainer = interrupted_run.make_trainer(sys.argv[2])
    trainer.args.log_completions = True
    error = ""
    try:
        trainer.train(resume_from_checkpoint=sys.argv[3:] == ["resume"] or None)
    except SandboxError as raised:
        error = str(raised)
        raise
    finally:
        evaluations = [entry for entry in trainer.state.log_history if "eval_pass@1" in entry]
        seen = {"step": trainer.state.global_step, "evaluations": evaluations, "error": error}
        Path(f"{sys.argv[2]}-rank{trainer.accelerator.process_index}.json").write_text(json.dumps(seen))
