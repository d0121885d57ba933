"""Padding of rows with different lengths."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def pad_left(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad token ids on the left. Returns ids and mask, which is `True` at tokens, of shape `(B, Q)`."""
    size = max(len(row) for row in rows)
    ids = [[pad] * (size - len(row)) + list(row) for row in rows]
    mask = [[False] * (size - len(row)) + [True] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def pad_right(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> torch.Tensor:
    """Pad token ids on the right. Returns a tensor of shape `(B, T)`."""
    size = max(len(row) for row in rows)
    return torch.tensor([list(row) + [pad] * (size - len(row)) for row in rows], device=device)


def pad_masks(masks: Sequence[Sequence[bool]], like: torch.Tensor) -> torch.Tensor:
    """Pad masks with `False` to the shape of `like`, on its device."""
    padded = torch.zeros(like.shape, dtype=torch.bool, device=like.device)
    for number, mask in enumerate(masks):
        padded[number, : len(mask)] = torch.tensor(mask, dtype=torch.bool)
    return padded
