"""Rule that decides which lines and tokens are kept."""

from __future__ import annotations

from typing import Any

import pytest

from stepcoder_trl.masking import MaskRule, kept_lines, loss_mask
from stepcoder_trl.parsing import extract_program
from stepcoder_trl.types import Execution, Outcome, TestResult
from tests.unit.masking.examples import kept_text, one_token_per_character


def executed(outcome: Outcome, kept: set[int], error_line: int | None = None) -> Execution:
    """Return an execution with one test and these kept lines."""
    lines = frozenset(kept)
    return Execution(outcome, (TestResult(outcome, error_line=error_line),), lines, lines, 0.0, True)


@pytest.mark.parametrize(
    ("run", "rule", "lines"),
    [
        (executed(Outcome.FAILED, {1, 4}), "up_to_error_line", {1, 4}),
        (executed(Outcome.COMPILE_ERROR, {1, 2, 3}, error_line=2), "all", {1, 2, 3}),
        (executed(Outcome.COMPILE_ERROR, {1, 2, 3}, error_line=2), "up_to_error_line", {1, 2}),
        (executed(Outcome.COMPILE_ERROR, {1, 2, 3}), "up_to_error_line", {1, 2, 3}),
    ],
)
def test_kept_lines_of_compile_error_depend_on_rule(run, rule, lines):
    assert MaskRule(compile_error_mask=rule).lines(run) == lines


def test_all_lines_are_kept_if_executed_lines_are_unknown():
    assert kept_lines("a\nb\n", None) == {1, 2}
    assert kept_lines("a\nb\n", frozenset({2})) == {2}


def rule_mask(run: Execution | None, **rule: Any) -> tuple[str, bool]:
    """Return the kept text of a function with a branch that did not run, and whether EOS is kept."""
    completion = "\n    if x:\n        return 1\n    return 0\n"
    spans = [*one_token_per_character(completion), (len(completion), len(completion))]
    program = extract_program(completion, "def f(x):")
    mask = loss_mask(spans, completion, program, run, MaskRule(**rule), task_id="a", step=1, sample=2)
    return kept_text(completion, mask[:-1]).replace(".", ""), mask[-1]


def test_executed_lines_and_text_outside_program_are_kept():
    run = executed(Outcome.FAILED, {1, 2, 4})

    text, eos = rule_mask(run)
    inside, no_eos = rule_mask(run, outside_program=False)

    assert text.split() == inside.split() == ["if", "x:", "return", "0"]
    assert (eos, no_eos) == (True, False)


@pytest.mark.parametrize("fgo", ["lines", "random"])
def test_completion_without_execution_is_kept(fgo):
    text, eos = rule_mask(None, fgo=fgo)

    assert "return 1" in text
    assert eos


def test_fgo_off_keeps_all_tokens():
    assert "return 1" in rule_mask(executed(Outcome.FAILED, {1}), fgo="off")[0]


def test_fgo_random_keeps_as_many_other_tokens():
    run = executed(Outcome.FAILED, {1, 2, 4})

    lines, random = rule_mask(run)[0], rule_mask(run, fgo="random")[0]

    assert len(random) == len(lines)
    assert random != lines
