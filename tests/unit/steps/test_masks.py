"""Masks of a batch."""

from __future__ import annotations

from stepcoder_trl.masking import MaskRule
from stepcoder_trl.steps.masks import error_masks, loss_masks
from stepcoder_trl.types import Outcome
from tests.unit.steps.samples import kept_text, make_completion, make_execution


BRANCH = "\n    if x:\n        return 1\n    return 0\n"


def test_each_completion_is_masked_by_its_own_execution():
    first, second = make_completion(BRANCH, "def f(x):"), make_completion(BRANCH, "def f(x):")

    masks = loss_masks([first, second], [make_execution(kept={1, 2, 4}), None], MaskRule(), step=0)

    assert kept_text(first, masks[0]).split() == ["if", "x:", "return", "0"]
    assert masks[0][-1]  # EOS
    assert all(masks[1])


def test_random_masks_depend_on_step_and_completion():
    run, rule = make_execution(kept={1, 2, 4}), MaskRule(fgo="random")
    completions = [make_completion(BRANCH, "def f(x):", number=number) for number in range(3)]

    now = loss_masks(completions, [run] * 3, rule, step=0)
    again = loss_masks(completions, [run] * 3, rule, step=0)
    later = loss_masks(completions, [run] * 3, rule, step=1)

    assert now == again
    assert now[0] != now[1]
    assert now != later


def test_tokens_of_the_line_with_the_error_are_marked():
    completion = make_completion("\n    y = x\n    return y[0]\n", "def f(x):")
    failed = make_execution(Outcome.RUNTIME_ERROR, {1, 2, 3}, error_line=3)

    masks = error_masks([completion] * 3, [failed, make_execution(Outcome.PASSED), None])

    assert kept_text(completion, masks[0]).split() == ["return", "y[0]"]
    assert not any(masks[1])
    assert not any(masks[2])
