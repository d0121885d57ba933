"""Padding."""

from __future__ import annotations

import torch

from stepcoder_trl.steps.padding import pad_left, pad_masks, pad_right


def test_masks_are_padded_with_false():
    padded = pad_masks([[True], [True, False, True]], torch.zeros(2, 4))

    assert padded.tolist() == [[True, False, False, False], [True, False, True, False]]


def test_queries_are_padded_on_the_left_and_completions_on_the_right():
    ids, mask = pad_left([[5], [6, 7]], 0, torch.device("cpu"))
    right = pad_right([[5], [6, 7]], 0, torch.device("cpu"))

    assert ids.tolist() == [[0, 5], [6, 7]]
    assert mask.tolist() == [[False, True], [True, True]]
    assert right.tolist() == [[5, 0], [6, 7]]
