from __future__ import annotations

from concurrent.futures import Future

import pytest

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.evaluation.sampling import Sample
from stepcoder_trl.evaluation.scoring import score_samples
from stepcoder_trl.types import Execution, Outcome


GOOD = Execution(Outcome.PASSED, (), frozenset(), frozenset(), 0.0, True)
TESTS = {"type": "stdio", "inputs": [""], "outputs": ["1"]}


def sample(program, tests=TESTS):
    return Sample("a", 0, "text", program, tests, num_tokens=3, stopped=True)


class Submit:
    """Records programs. Their results arrive when `finish` is called."""

    def __init__(self):
        self.programs: list[str] = []
        self.futures: list[Future] = []

    def __call__(self, program, tests):
        self.programs.append(program)
        self.futures.append(Future())
        return self.futures[-1]

    def finish(self, *results):
        for future, result in zip(self.futures, results, strict=True):
            (future.set_exception if isinstance(result, Exception) else future.set_result)(result)


def test_programs_are_submitted_before_next_batch_is_drawn():
    submit = Submit()

    def batches():
        yield [sample("1"), sample("2")]
        assert submit.programs == ["1", "2"]
        yield [sample("3")]
        submit.finish(GOOD, GOOD, GOOD)

    evaluation = score_samples(batches(), submit)

    assert [one.program for one in evaluation.samples] == ["1", "2", "3"]
    assert [(one.num_tokens, one.stopped, one.passed) for one in evaluation.samples] == [(3, True, True)] * 3


def test_sandbox_error_is_kept_with_its_sample():
    submit = Submit()

    def batches():
        yield [sample("1"), sample("2")]
        submit.finish(GOOD, SandboxError("disk full"))

    evaluation = score_samples(batches(), submit)

    assert [one.execution for one in evaluation.samples] == [GOOD, None]
    assert [one.error for one in evaluation.samples] == ["", "disk full"]


def test_program_without_tests_is_not_run():
    submit = Submit()

    (evaluated,) = score_samples([[sample("1", tests=None)]], submit).samples

    assert submit.programs == []
    assert (evaluated.execution, evaluated.error) == (None, "")


def test_programs_are_cancelled_if_drawing_fails():
    submit = Submit()

    def batches():
        yield [sample("1")]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_samples(batches(), submit)

    assert submit.futures[0].cancelled()
