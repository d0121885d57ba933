"""Control of the mask: random tokens of the program are kept."""

from __future__ import annotations

from typing import Any

from stepcoder_trl.masking import completion_loss_mask, random_token_mask
from stepcoder_trl.parsing import extract_program
from tests.unit.masking.examples import one_token_per_character


def random_mask(sample: int, **changes: Any) -> list[bool]:
    """Return the random mask of a completion with three lines, of which the first is kept."""
    completion = "a = 1\nb = 2\nc = 3\n```\n"
    program = extract_program(completion, opened_fence=True)
    tokens = one_token_per_character(completion)
    mask = completion_loss_mask(tokens, completion, program, {1})
    key = {"seed": 1, "task_id": "t", "step": 2, "sample": sample} | changes
    return random_token_mask(mask, tokens, program, **key)


def test_random_mask_keeps_as_many_tokens_of_program_and_all_outside():
    mask = random_mask(0)

    # Six are kept of the program: `a = 1`, and the last line end, which goes with the fence.
    assert (sum(mask[:18]), mask[18:]) == (6, [True] * 4)


def test_random_mask_depends_on_seed_step_sample_and_task():
    assert random_mask(0) == random_mask(0)
    assert random_mask(0) != random_mask(1)
    assert random_mask(0) != random_mask(0, step=3)
    assert random_mask(0) != random_mask(0, seed=2)
    assert random_mask(0) != random_mask(0, task_id="u")


def test_random_mask_draws_every_token_equally_often():
    counts = [sum(column) for column in zip(*(random_mask(sample) for sample in range(2000)), strict=True)][:18]

    # 2000 draws of 6 out of 18: 667 expected, standard deviation 21.
    assert all(560 < count < 774 for count in counts)
