"""Helpers for masks of a completion with one token per character."""

from __future__ import annotations


def one_token_per_character(text: str) -> list[tuple[int, int]]:
    """Return the spans of the tokens."""
    return [(offset, offset + 1) for offset in range(len(text))]


def kept_text(completion: str, mask: list[bool]) -> str:
    """Return the completion with a dot in place of each masked character."""
    return "".join(character if kept else "." for character, kept in zip(completion, mask, strict=False))
