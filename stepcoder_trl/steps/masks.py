"""Masks of a batch's completions, as lists: tokens of the policy loss, and tokens that an error is blamed on."""

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
    Mark the tokens of each completion that take part in the policy loss.

    Args:
        completions (`Sequence[Completion]`):
            Completions.
        executions (`Sequence[Execution | None]`):
            Their results. Without one every token is kept.
        rule ([`MaskRule`]):
            Rule.
        step (`int`):
            Update, counted from 0. Random masks depend on it.

    Returns:
        `list[list[bool]]`: One list per completion, as long as its tokens. `True` where a token is kept.
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
    """
    Mark the tokens on the lines that RLTF's fine-grained feedback blames, in the model's part of each program.

    Args:
        completions (`Sequence[Completion]`):
            Completions.
        executions (`Sequence[Execution | None]`):
            Their results.

    Returns:
        `list[list[bool]]`: One list per completion, as long as its tokens.
    """
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
