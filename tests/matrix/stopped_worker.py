"""One of two processes that train; the second one sends itself SIGTERM at a moment: `MOMENT OUTPUT_DIR [resume]`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from tests.integration import interrupted_run


class SecondIsStopped(interrupted_run.Announcing):
    """Only one process notes the signal."""

    def reached(self, event: str) -> None:
        if event == sys.argv[1] and self.accelerator.process_index == 1:
            os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    interrupted_run.Announcing = SecondIsStopped
    trainer = interrupted_run.make_trainer(sys.argv[2])
    trainer.args.log_completions = True
    try:
        trainer.train(resume_from_checkpoint=sys.argv[3:] == ["resume"] or None)
    finally:
        evaluations = [entry for entry in trainer.state.log_history if "eval_pass@1" in entry]
        seen = {"step": trainer.state.global_step, "evaluations": evaluations}
        Path(f"{sys.argv[2]}-rank{trainer.accelerator.process_index}.json").write_text(json.dumps(seen))
