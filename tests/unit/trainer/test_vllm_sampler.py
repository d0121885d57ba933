from __future__ import annotations

import pytest

from stepcoder_trl.trainer.vllm_sampler import group_size


@pytest.mark.parametrize(
    ("prompts", "size"),
    [("aabb", 2), ("aaaabb", 2), ("aaabbb", 3), ("abab", 1), ("aaab", 1), ("aaaa", 4), ("a", 1)],
)
def test_group_size_is_a_number_of_equal_prompts(prompts, size):
    assert group_size(prompts) == size
    starts = range(0, len(prompts), size)
    assert all(len(set(prompts[start : start + size])) == 1 for start in starts)
