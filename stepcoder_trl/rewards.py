"""
Scores of executed programs, and the reward functions of StepCoder, PPOCoder and RLTF.

To add a reward, write a function with TRL's signature and add it to `REWARDS`. The command line reads its names and
its help from there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, Literal

from stepcoder_trl.code_match import ppocoder_matches
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor import CodeExecutor
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.parsing import extract_program, line_spans
from stepcoder_trl.types import Execution, Outcome


# StepCoder (arXiv:2402.01391), Eq. 3. A program that is stopped at a limit counts as a runtime error.
SCORES: dict[Outcome, float] = {
    Outcome.PASSED: 1.0,
    Outcome.FAILED: -0.3,
    Outcome.RUNTIME_ERROR: -0.6,
    Outcome.TIMEOUT: -0.6,
    Outcome.MEMORY_EXCEEDED: -0.6,
    Outcome.COMPILE_ERROR: -1.0,
}


def unit_test_score(execution: Execution) -> float:
    """Return the score of a program's compiler feedback: Eq. 3 of StepCoder."""
    return SCORES[execution.outcome]


def scores_of_tests(execution: Execution) -> list[float]:
    """Return Eq. 3 of StepCoder for each test alone, in test order."""
    return [SCORES[test.outcome] for test in execution.tests]


def mean_test_score(execution: Execution) -> float:
    """Return the mean over the tests of Eq. 3 of StepCoder. With one test it is `unit_test_score`."""
    return fmean(scores_of_tests(execution))


def adaptive_score(execution: Execution) -> float:
    """
    Return RLTF's adaptive score: compiler feedback, but a failed program earns more the more tests it passes.

    A failed program has `-0.3 + 1.3 * passed / tests`, if it was run under all its tests.

    Source: Liu et al., RLTF (arXiv:2307.04349), section 3.3.
    """
    if execution.outcome is not Outcome.FAILED:
        return SCORES[execution.outcome]
    worst = SCORES[Outcome.FAILED]
    return worst + (SCORES[Outcome.PASSED] - worst) * execution.num_passed / len(execution.tests)


def ppocoder_score(execution: Execution, syntax_match: float, data_flow_match: float) -> float:
    """
    Return PPOCoder's score, from -1 to 3: compiler feedback plus two similarities to the reference program.

    Source: Shojaee et al., PPOCoder (arXiv:2301.13816), section 3.3; all weights are 1 there.
    """
    return SCORES[execution.outcome] + syntax_match + data_flow_match


def error_lines(program: str, execution: Execution) -> frozenset[int]:
    """
    Return the lines of a program that RLTF's fine-grained feedback penalizes.

    These are all lines after a time limit, an endless recursion, or a syntax error on the last line, which means an
    unfinished program. After any other error it is the line of the error, if it is known. Otherwise there is none.

    Source: Liu et al., RLTF (arXiv:2307.04349), section 3.3: U_global, U_line and U_ignore.
    """
    deciding = next((test for test in execution.tests if test.outcome is execution.outcome), None)
    if deciding is None or execution.outcome in (Outcome.PASSED, Outcome.FAILED):
        return frozenset()
    last = len(line_spans(program.rstrip()))
    unfinished = execution.outcome is Outcome.COMPILE_ERROR and (deciding.error_line or 0) >= last
    endless = execution.outcome is Outcome.TIMEOUT or deciding.message.startswith("RecursionError")
    if unfinished or endless:
        return frozenset(range(1, len(line_spans(program)) + 1))
    return frozenset() if deciding.error_line is None else frozenset({deciding.error_line})


# Runs programs for `unit_test_reward` outside our trainers. There is one executor for all batches, because starting
# workers takes longer than running a batch. It starts them with the first program and may be used by several threads.
# A forked process gets workers of its own.
_executor = CodeExecutor()


def close_executor() -> None:
    """End the workers that `unit_test_reward` started in this process. The next call starts new ones."""
    global _executor
    old, _executor = _executor, CodeExecutor()
    old.close()


ScoreTests = Literal["worst", "mean"]


def unit_test_reward(
    completions: Sequence[Any],
    execution: Sequence[Execution | None] | None = None,
    untrusted_passes: Literal["accept", "drop"] = "accept",
    **columns: Any,
) -> list[float | None]:
    """
    Score by compiler feedback: passed 1, wrong answer -0.3, runtime error or limit -0.6, compile error -1.

    `StepCoderPPOTrainer` passes the executions. Elsewhere, for example in TRL's GRPO, the programs are run here, from
    the dataset's `tests` column and, if given, `prefix`. One executor serves all calls of a process. Its workers start
    with the first program and end at interpreter exit.

    Args:
        completions (`Sequence`): Completions, as text or as chat messages.
        execution (`Sequence[Execution]`, *optional*): Results, `None` where the program could not be run.
        untrusted_passes (`str`, *optional*, defaults to `"accept"`):
            `"drop"` gives no score to a passed program that could have forged its verdict. Set it with
            `functools.partial`.
        **columns: Dataset columns; without `execution`, `tests` is needed.

    Returns:
        `list[float | None]`: One score per completion, `None` where there is no result.

    Raises:
        BadInputError: If `tests` is missing or malformed, or `untrusted_passes` is unknown.

    Paper: StepCoder (arXiv:2402.01391), Eq. 3.
    """
    if untrusted_passes not in ("accept", "drop"):
        raise BadInputError(f"`untrusted_passes` is {untrusted_passes!r}, but must be 'accept' or 'drop'.")
    if execution is None:
        execution = _execute(completions, **columns)
    drop = untrusted_passes == "drop"
    return [
        None if result is None or (drop and result.is_untrusted_pass) else unit_test_score(result)
        for result in execution
    ]


def mean_test_reward(
    completions: Sequence[Any], execution: Sequence[Execution | None] | None = None, **columns: Any
) -> list[float | None]:
    """
    Score by compiler feedback of each test alone, averaged over the tests. `score_tests="mean"` selects it.

    Arguments and errors are those of [`unit_test_reward`], which scores by the worst test.
    """
    if execution is None:
        execution = _execute(completions, **columns)
    return [None if result is None else mean_test_score(result) for result in execution]


def ppocoder_reward(
    completions: Sequence[Any],
    execution: Sequence[Execution | None],
    program: Sequence[str],
    canonical_solution: Sequence[str],
    **columns: Any,
) -> list[float | None]:
    """
    Score by compiler feedback plus the syntax match and the data-flow match with the canonical solution.

    It needs tree-sitter, and every row a canonical solution.

    Source: Shojaee et al., PPOCoder (arXiv:2301.13816).
    """
    return [
        None if result is None else ppocoder_score(result, *ppocoder_matches(text, reference))
        for result, text, reference in zip(execution, program, canonical_solution, strict=True)
    ]


def rltf_reward(
    completions: Sequence[Any], execution: Sequence[Execution | None], **columns: Any
) -> list[float | None]:
    """
    Score by compiler feedback, where a program with wrong answers earns more the more tests it passes.

    RLTF's fine-grained part is a penalty on tokens: `StepCoderPPOConfig.error_token_penalty`.

    Source: Liu et al., RLTF (arXiv:2307.04349).
    """
    return [None if result is None else adaptive_score(result) for result in execution]


# Values of `--reward`.
REWARDS: dict[str, Callable[..., list[float | None]]] = {
    "stepcoder": unit_test_reward,
    "ppocoder": ppocoder_reward,
    "rltf": rltf_reward,
}


def describe_rewards() -> str:
    """Return the names in `REWARDS`, each with the first line of its function's docstring."""
    first_lines = {name: (inspect.getdoc(func) or "").partition("\n")[0] for name, func in REWARDS.items()}
    return " ".join(f"`{name}`: {line}" for name, line in first_lines.items())


def _execute(completions: Sequence[Any], **columns: Any) -> list[Execution | None]:
    """Run the program of each completion; `None` where the sandbox failed to run it."""
    if columns.get("tests") is None:
        raise BadInputError("`unit_test_reward` needs the column `tests`. Keep it in the dataset.")
    prefixes = columns.get("prefix") or [""] * len(completions)
    texts = [_text(completion) for completion in completions]
    programs = [extract_program(text, prefix).text for text, prefix in zip(texts, prefixes, strict=True)]
    results = _executor.run_many(programs, _parse_tests(columns["tests"]), on_error="return")
    return [result if isinstance(result, Execution) else None for result in results]


def _parse_tests(column: Sequence[Any]) -> list[Tests]:
    """Parse the tests of each row. The rows of a group hold the same text or object, which is parsed once."""
    keys = [tests if isinstance(tests, str) else id(tests) for tests in column]
    parsed = {key: Tests.parse(tests) for key, tests in dict(zip(keys, column, strict=True)).items()}
    return [parsed[key] for key in keys]


def _text(completion: Any) -> str:
    """Return the text of a completion, which is a string or a list of chat messages."""
    return completion if isinstance(completion, str) else "".join(message["content"] for message in completion)
