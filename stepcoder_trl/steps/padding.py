"""Rows of different lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def pad_left(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows as a tensor `(B, Q)` padded on the left, and its mask, `True` where a token stands."""
    size = max(len(row) for row in rows)
    ids = [[pad] * (size - len(row)) + list(row) for row in rows]
    mask = [[False] * (size - len(row)) + [True] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def pad_right(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> torch.Tensor:
    """Token rows as a tensor `(B, T)` padded on the right."""
    size = max(len(row) for row in rows)
    return torch.tensor([list(row) + [pad] * (size - len(row)) for row in rows], device=device)


def pad_masks(masks: Sequence[Sequence[bool]], like: torch.Tensor) -> torch.Tensor:
    """Masks of different lengths as one tensor of the shape and on the device of `like`, `False` beyond their ends."""
    padded = torch.zeros(like.shape, dtype=torch.bool, device=like.device)
    for number, mask in enumerate(masks):
        padded[number, : len(mask)] = torch.tensor(mask, dtype=torch.bool)
    return padded
