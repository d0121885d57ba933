"""FGO per test: the tokens that each test ran, and the credit that they get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.masking import MaskRule, credit_of_tests, loss_mask, masks_of_tests
from stepcoder_trl.parsing import extract_program
from stepcoder_trl.types import Execution, Outcome, TestResult
from tests.unit.masking.examples import kept_text, one_token_per_character


PREFIX = "def f(x):"
COMPLETION = "\n    if x:\n        a = 1\n    else:\n        b = 2\n    return x\n"
LENGTH = 6  # lines of the program
SPANS = [*one_token_per_character(COMPLETION), (len(COMPLETION), len(COMPLETION))]
PROGRAM = extract_program(COMPLETION, PREFIX)


def executed(*lines: set[int] | None, outcome: Outcome = Outcome.FAILED, trace_lost: bool = False) -> Execution:
    tests = tuple(TestResult(outcome, executed_lines=None if one is None else frozenset(one)) for one in lines)
    every = frozenset().union(*(one or () for one in lines))
    known = outcome is not Outcome.COMPILE_ERROR and not trace_lost
    kept = every if known else frozenset(range(1, LENGTH + 1))
    return Execution(outcome, tests, every, kept, 0.0, True, trace_lost)


def masks(run: Execution, step: int = 0, **rule: object) -> list[list[bool]]:
    rule = {"fgo": "tests", **rule}
    return masks_of_tests(SPANS, COMPLETION, PROGRAM, run, MaskRule(**rule), task_id="a", step=step, sample=1)


def test_each_test_has_tokens_of_its_lines() -> None:
    first, second = masks(executed({1, 2, 3, 6}, {1, 2, 4, 5, 6}))

    assert "".join(kept_text(COMPLETION, first).replace(".", "").split()) == "ifx:a=1returnx"
    assert "".join(kept_text(COMPLETION, second).replace(".", "").split()) == "ifx:else:b=2returnx"
    assert (first[-1], second[-1]) == (True, True)  # EOS


@pytest.mark.parametrize(
    "run",
    [
        executed({1, 2}, {1}, outcome=Outcome.COMPILE_ERROR),
        executed({1, 2}, {1}, trace_lost=True),
    ],
    ids=["not compiled", "trace lost"],
)
def test_every_test_ran_every_token_of_a_program_without_a_trace(run: Execution) -> None:
    assert masks(run) == [[True] * len(SPANS)] * 2


def test_test_with_unknown_lines_has_those_of_all() -> None:
    first, second = masks(executed(None, {1, 2, 3, 6}))

    assert first == second == loss_mask(SPANS, COMPLETION, PROGRAM, executed({1, 2, 3, 6}), MaskRule())


def test_credit_by_hand() -> None:
    # Four tokens. Test 0 ran the first three, test 1 the first two, test 2 the first one.
    ran = [[True, True, True, False], [True, True, False, False], [True, False, False, False]]

    shares, credits = credit_of_tests(ran, [0.6, 0.3, -0.9])

    assert shares == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert credits == pytest.approx([0, 0.3, 0.2, 0])


lines = st.frozensets(st.integers(1, LENGTH), max_size=LENGTH)


@given(lines)
def test_one_test_is_plain_fgo(ran: frozenset[int]) -> None:
    run = executed(set(ran))
    shares, credits = credit_of_tests(masks(run), [0.0])

    assert [share > 0 for share in shares] == loss_mask(SPANS, COMPLETION, PROGRAM, run, MaskRule())
    assert set(shares) <= {0.0, 1.0}
    assert not any(credits)


@given(st.lists(lines, min_size=1, max_size=4), st.booleans())
def test_tokens_of_all_tests_are_those_of_plain_fgo(tests: list[frozenset[int]], outside: bool) -> None:
    run, rule = executed(*map(set, tests)), {"outside_program": outside}
    together = [any(column) for column in zip(*masks(run, **rule), strict=True)]

    assert together == loss_mask(SPANS, COMPLETION, PROGRAM, run, MaskRule(**rule))
    control = [any(column) for column in zip(*masks(run, fgo="tests_random", **rule), strict=True)]
    assert control == together


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12))
def test_tests_that_ran_everything_leave_the_advantage(scores: list[float]) -> None:
    mean = sum(scores) / len(scores)
    shares, credits = credit_of_tests([[True] * 3] * len(scores), [score - mean for score in scores])

    assert (shares, credits) == ([1.0] * 3, [0.0] * 3)


def test_control_permutes_the_credit_of_kept_tokens() -> None:
    run = executed({1, 2, 3, 6}, {1, 2, 6})
    plain, control = masks(run), masks(run, fgo="tests_random", seed=3)

    # Columns of the program are permuted, all tests alike. What is outside stays.
    assert control != plain
    assert sorted(zip(*control, strict=True)) == sorted(zip(*plain, strict=True))
    assert (control[0][-1], control[1][-1]) == (True, True)
    assert control == masks(run, fgo="tests_random", seed=3)
    assert control != masks(run, step=1, fgo="tests_random", seed=3)
    assert control != masks(run, fgo="tests_random", seed=4)
