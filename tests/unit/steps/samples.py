"""Completions and executions to test with, without torch."""

from __future__ import annotations

from stepcoder_trl.parsing import extract_program
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.starts import Completion, Start
from stepcoder_trl.types import Execution, Outcome, TestResult


def make_execution(outcome=Outcome.FAILED, kept=(), error_line=None, message="", trusted=True):
    """Return an execution of one test."""
    test = TestResult(outcome, error_line=error_line, message=message)
    return Execution(outcome, (test,), frozenset(kept), frozenset(kept), 0.0, trusted)


def make_completion(text, prefix, *, task_id="task", number=0, columns=None, tests=None, prompt="prompt"):
    """Return a completion with one token per character, and an end token without text."""
    row = PromptRow(task_id, prompt, tests=tests, columns={"prompt": prompt, **(columns or {})})
    start = Start(row, None, Query("q", prefix, (5,)), number)
    spans = (*((place, place + 1) for place in range(len(text))), (len(text), len(text)))
    return Completion(start, tuple(range(len(spans))), text, spans, extract_program(text, prefix))


def kept_text(completion, mask):
    """Return the text of the tokens that a mask keeps."""
    return "".join(completion.text[slice(*span)] for span, keep in zip(completion.spans, mask, strict=True) if keep)
