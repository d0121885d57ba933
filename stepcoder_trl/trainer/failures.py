"""What is done when the sandbox fails to run too many programs of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from stepcoder_trl.steps.programs import Feedback, too_many_failures
from stepcoder_trl.trainer.signals import Interruption


def check_infrastructure(feedback: Sequence[Feedback], limit: float, accelerator: Accelerator) -> None:
    """
    Raise an `Interruption` if the sandbox failed to run a larger share of the programs than `limit`.

    Counts are those of all processes. Every process must call this.
    """
    counts = [sum(one.infrastructure_errors for one in feedback), sum(len(one.executions) for one in feedback)]
    total = accelerator.reduce(torch.tensor(counts, device=accelerator.device), "sum")
    errors, programs = total.tolist()
    if errors > limit * programs:
        messages = gather_object([f"{one.first_error} {one.advice}" for one in feedback if one.first_error])
        raise Interruption(too_many_failures(errors, programs, limit, messages[0]))
