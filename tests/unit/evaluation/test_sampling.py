from __future__ import annotations

import random

import numpy as np
import torch

from stepcoder_trl.evaluation.sampling import (
    GeneratedText,
    Sample,
    build_requests,
    draw_batch,
    ending_at,
    seeded,
    split_batches,
)


def test_requests_of_one_problem_are_together(problems, tokenizer):
    requests = build_requests(problems[:2], 2, tokenizer)

    expected = [("sign/0", 0), ("sign/0", 1), ("sign/1", 0), ("sign/1", 1)]
    assert [(request.task_id, request.number) for request in requests] == expected
    assert requests[0].query.prefix == "def sign(x):"


def test_last_batch_may_be_smaller():
    assert list(split_batches(range(5), 2)) == [range(2), range(2, 4), range(4, 5)]
    assert list(split_batches([], 2)) == []


def test_sample_holds_program_and_tests(problems, tokenizer):
    requests = build_requests(problems[:1], 1, tokenizer)

    samples = draw_batch(requests, lambda queries, seed: [GeneratedText(f"\n    return {seed}\n", 7, True)], seed=3)

    text = "\n    return 3\n"
    assert samples == [Sample("sign/0", 0, text, "def sign(x):" + text, problems[0].tests, 7, True)]


def test_completion_ends_before_the_first_stop_word():
    texts = ["    return 1\n\nprint(f())\ndef g(): pass", "    return 2\n", "class A: pass"]
    engine = ending_at(lambda queries, seed: [GeneratedText(text, 9, False) for text in texts], ["\ndef ", "\nprint("])

    assert engine([], 0) == [
        GeneratedText("    return 1\n", 9, True),
        GeneratedText("    return 2\n", 9, False),
        GeneratedText("class A: pass", 9, False),
    ]


def test_seeded_block_repeats_and_restores_random_state():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    expected = draw()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)

    with seeded(1):
        first = draw()[2]
    with seeded(1):
        again = draw()[2]

    assert first == again != expected[2]
    assert draw() == expected
