"""Masks of the completions of a batch: tokens of the policy loss, and tokens on lines with an error."""

from __future__ import annotations

from collections.abc import Sequence

from stepcoder_trl.masking import MaskRule, completion_loss_mask, loss_mask
from stepcoder_trl.rewards import error_lines
from stepcoder_trl.steps.starts import Completion
from stepcoder_trl.types import Execution


def loss_masks(
    completions: Sequence[Completion], executions: Sequence[Execution | None], rule: MaskRule, step: int
) -> list[list[bool]]:
    """
    Mark the tokens of each completion that stay in the policy loss.

    Without an execution all tokens stay. Random masks depend on the update `step`.
    """
    return [
        loss_mask(
            completion.spans,
            completion.text,
            completion.program,
            execution,
            rule,
            task_id=completion.start.row.task_id,
            step=step,
            sample=completion.start.number,
        )
        for completion, execution in zip(completions, executions, strict=True)
    ]


def error_masks(completions: Sequence[Completion], executions: Sequence[Execution | None]) -> list[list[bool]]:
    """Mark the tokens of each completion on lines with an error, as in RLTF's fine-grained feedback."""
    masks = []
    for completion, execution in zip(completions, executions, strict=True):
        program = completion.program
        lines = frozenset[int]() if execution is None else error_lines(program.text, execution)
        masks.append(
            completion_loss_mask(completion.spans, completion.text, program, lines, outside_program=False)
            if lines
            else [False] * len(completion.spans)
        )
    return masks
