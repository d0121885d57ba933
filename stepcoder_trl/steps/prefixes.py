"""Prefix tokens: the tokens of a query with the code that the curriculum shows beyond the starter code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepcoder_trl.curriculum.cut import shown_code
from stepcoder_trl.steps.starts import Start
from stepcoder_trl.tokens import token_texts


def prefix_lengths(starts: Sequence[Start], tokenizer: Any) -> list[int]:
    """
    Return the number of prefix tokens of each query. They are its last tokens.

    A token belongs to the prefix if its text begins behind the starter code. From scratch, and without a curriculum,
    there is none.
    """
    known: dict[tuple[str, tuple[int, ...]], int] = {}
    lengths = []
    for start in starts:
        key = start.row.task_id, start.query.token_ids
        if key not in known:
            known[key] = _prefix_length(start, tokenizer)
        lengths.append(known[key])
    return lengths


def _prefix_length(start: Start, tokenizer: Any) -> int:
    if start.stage is None:
        return 0
    shown = shown_code(start.row.canonical_solution, start.row.starter_code, start.stage.prefix)
    if not shown:
        return 0
    tokens = token_texts(start.query.token_ids, tokenizer)
    # Counted from the end: some tokenizers change the beginning of a text.
    begin = len(tokens.text) - len(shown)
    return sum(first >= begin for first, _ in tokens.spans)
