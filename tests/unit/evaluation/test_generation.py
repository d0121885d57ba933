from __future__ import annotations

import copy

import pytest
import torch
from transformers import GenerationConfig, Lfm2Config, Lfm2ForCausalLM

from stepcoder_trl.evaluation import generation
from stepcoder_trl.evaluation.generation import (
    ClosingFence,
    SamplingConfig,
    _unpadded,
    closing_fence_end,
    end_completions,
    eos_token_ids,
    generate,
    tokens_with_backtick,
)
from stepcoder_trl.steps.queries import build_query


def scripted_fence(tokenizer, text, inside=True):
    """Feeds a text token by token. Returns the criterion, its answer after each token, and the tokens."""
    ids = tokenizer(text)["input_ids"]
    fence = ClosingFence(tokenizer, 1, [inside])
    answers = [fence(torch.tensor([[7, *ids[: end + 1]]]), None).item() for end in range(len(ids))]
    return fence, answers, ids


def test_generation_stops_at_closing_fence(tokenizer):
    fence, answers, ids = scripted_fence(tokenizer, "\nx = 1\n```\nDone.")

    stop = answers.index(True)
    assert tokenizer.decode(ids[: stop + 1]).startswith("\nx = 1\n```")
    assert "```" not in tokenizer.decode(ids[:stop])
    assert fence.lengths == [stop + 1]
    assert all(answers[stop:])


@pytest.mark.parametrize(("text", "inside"), [("\nx = '```'\ny = `1`\n", True), ("\nx\n```\n", False)])
def test_generation_continues_without_closing_fence(tokenizer, text, inside):
    fence, answers, _ = scripted_fence(tokenizer, text, inside)

    assert not any(answers)
    assert fence.lengths == [None]


@pytest.mark.parametrize("text", ["\nx = 1\n```\nDone.", "\nx = '```'\n", "```", "\n  ````\n```", ""])
def test_end_at_the_fence_is_the_same_afterwards(tokenizer, text):
    fence, _, ids = scripted_fence(tokenizer, text)

    assert closing_fence_end(ids, tokenizer, tokens_with_backtick(tokenizer)) == fence.lengths[0]


def test_completions_of_another_engine_end_at_fence_and_stop_token(tokenizer):
    fenced, open_ended = (
        build_query([{"role": "user", "content": "x"}], "", tokenizer),
        build_query("x", "", tokenizer),
    )
    text, eos = "\nx = 1\n```\nDone.", tokenizer.eos_token_id
    ids = tokenizer(text)["input_ids"]

    sampled = [ids, ids, [*ids[:2], eos, *ids[2:]]]
    ended = end_completions([fenced, open_ended, fenced], sampled, tokenizer, [eos], torch.device("cpu"))

    assert tokenizer.decode(ended.completion_ids()[0]).startswith("\nx = 1\n```")
    assert "Done" not in tokenizer.decode(ended.completion_ids()[0])
    assert ended.completion_ids()[1:] == [ids, [*ids[:2], eos]]
    assert ended.stopped.tolist() == [True, False, True]
    assert tuple(ended.query_ids[0][ended.query_mask[0]].tolist()) == fenced.token_ids


def queries(tokenizer, texts):
    return [build_query(text, "", tokenizer) for text in texts]


def test_completions_end_at_stop_token(tokenizer, make_policy):
    given = queries(tokenizer, [f"number {n}" for n in range(12)])
    torch.manual_seed(0)

    made = generate(
        make_policy().eval(), given, tokenizer, SamplingConfig(200, 1.0, 1.0, tokenizer.eos_token_id), batch_size=5
    )

    assert made.stopped.any()
    for ids, stopped in zip(made.completion_ids(), made.stopped.tolist(), strict=True):
        assert (ids[-1] == tokenizer.eos_token_id) == stopped
        assert tokenizer.eos_token_id not in ids[:-1]
        assert stopped or len(ids) == made.response_ids.shape[1]
    for row, length in zip(made.response_ids, made.lengths, strict=True):
        assert (row[length:] == tokenizer.pad_token_id).all()


def test_queries_are_padded_on_left(tokenizer, make_policy):
    given = queries(tokenizer, ["x", "a much longer prompt"])

    made = generate(make_policy().eval(), given, tokenizer, SamplingConfig(3))

    for ids, mask, query in zip(made.query_ids, made.query_mask, given, strict=True):
        assert tuple(ids[mask].tolist()) == query.token_ids
        assert mask[-1]


def test_padding_does_not_change_greedy_completions(tokenizer, make_policy):
    policy, greedy = make_policy().eval(), SamplingConfig(8, temperature=0.0)
    given = queries(tokenizer, ["x", "a much longer prompt than that"])

    together = generate(policy, given, tokenizer, greedy).completion_ids()

    alone = [generate(policy, [query], tokenizer, greedy).completion_ids()[0] for query in given]
    assert together == alone


def test_equal_queries_are_read_once_with_same_completions(tokenizer, make_policy):
    policy, sampling = make_policy().eval(), SamplingConfig(12, 0.8, 0.9, tokenizer.eos_token_id)
    given = queries(tokenizer, ["a prompt", "a prompt", "a much longer prompt than that", "a prompt"])
    read: list[tuple[int, ...]] = []
    policy.model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    torch.manual_seed(0)
    alone = generate(policy, given, tokenizer, sampling, share_prompts=False)
    longest = max(len(query.token_ids) for query in given)
    assert read[0] == (4, longest)
    read.clear()

    torch.manual_seed(0)
    shared = generate(policy, given, tokenizer, sampling)

    assert read[0] == (2, longest - 1)
    assert read[1] == (4, 1)
    assert shared.completion_ids() == alone.completion_ids()


def test_model_with_recurrent_layers_reads_equal_queries_again(tokenizer):
    size = len(tokenizer)
    config = Lfm2Config(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
    )
    model = Lfm2ForCausalLM(config).eval()
    given, greedy = queries(tokenizer, ["a prompt"] * 3), SamplingConfig(4, temperature=0.0)

    made = generate(model, given, tokenizer, greedy)

    alone = generate(model, given, tokenizer, greedy, share_prompts=False)
    assert made.completion_ids() == alone.completion_ids()


def test_queries_are_sampled_by_length_and_returned_in_order(tokenizer, make_policy):
    policy, greedy = make_policy().eval(), SamplingConfig(6, temperature=0.0)
    given = queries(tokenizer, ["a much longer prompt than that", "x", "a long prompt", "y"])
    widths: list[int] = []
    policy.model.register_forward_pre_hook(
        lambda _, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )

    made = generate(policy, given, tokenizer, greedy, batch_size=2)

    lengths = sorted(len(query.token_ids) for query in given)
    assert [width for width in widths if width > 1] == [width for width in (lengths[1], lengths[3]) if width > 1]
    alone = [generate(policy, [query], tokenizer, greedy).completion_ids()[0] for query in given]
    assert made.completion_ids() == alone


def test_eos_is_recognised_if_it_is_also_padding(tokenizer, make_policy):
    given = queries(tokenizer, [f"number {n}" for n in range(12)])
    sampling = SamplingConfig(200, 1.0, 1.0, tokenizer.eos_token_id)
    torch.manual_seed(0)
    expected = generate(make_policy().eval(), given, tokenizer, sampling)

    without_padding = copy.deepcopy(tokenizer)
    without_padding.pad_token = without_padding.eos_token
    torch.manual_seed(0)
    made = generate(make_policy().eval(), given, without_padding, sampling)

    assert made.completion_ids() == expected.completion_ids()
    assert made.stopped.equal(expected.stopped)


def test_generation_settings_of_checkpoint_are_ignored_and_kept(tokenizer, make_policy):
    policy, given = make_policy().eval(), queries(tokenizer, ["def add"])
    torch.manual_seed(0)
    expected = generate(policy, given, tokenizer, SamplingConfig(20, 0.9, 0.9))

    settings = GenerationConfig(repetition_penalty=50.0, do_sample=True, top_k=1, min_new_tokens=5)
    policy.generation_config = settings
    torch.manual_seed(0)
    made = generate(policy, given, tokenizer, SamplingConfig(20, 0.9, 0.9))

    assert made.completion_ids() == expected.completion_ids()
    assert policy.generation_config is settings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (None, ["tokenizer"]),
        ("tokenizer", ["tokenizer"]),
        (7, ["tokenizer", 7]),
        ([7, "tokenizer", 9], ["tokenizer", 7, 9]),
    ],
)
def test_eos_tokens_are_those_of_tokenizer_and_generation_settings(tokenizer, make_policy, settings, expected):
    def ids(given):
        return tokenizer.eos_token_id if given == "tokenizer" else given

    policy = make_policy()
    policy.generation_config.eos_token_id = list(map(ids, settings)) if isinstance(settings, list) else ids(settings)

    assert eos_token_ids(policy, tokenizer) == list(map(ids, expected))


class Scripted(torch.nn.Module):
    """Adds to the logits of a model, so that it samples the given tokens in turn."""

    def __init__(self, head, script):
        super().__init__()
        self.head, self.script = head, iter(script)

    def forward(self, states):
        logits = self.head(states)
        logits[:, -1, next(self.script, 0)] += 1e4
        return logits


@pytest.mark.parametrize(("stop", "length"), [("eos", 3), ("second", 3), ("other", 4), (None, 6)])
def test_every_eos_token_ends_a_completion(tokenizer, make_policy, stop, length):
    policy, (first, second, *_) = make_policy().eval(), tokenizer("def add(a, b):")["input_ids"]
    stops = {"eos": tokenizer.eos_token_id, "second": 300, "other": 301, None: None}
    policy.generation_config.eos_token_id = [tokenizer.eos_token_id, 300]
    policy.lm_head = Scripted(policy.lm_head, [first, second, 300, 301, first, tokenizer.eos_token_id])

    made = generate(policy, queries(tokenizer, ["x"]), tokenizer, SamplingConfig(6, 0.0, stop_token_id=stops[stop]))

    assert made.lengths.tolist() == [length]
    assert made.stopped.tolist() == [stop is not None]


def test_stop_words_end_a_completion_without_its_padding(tokenizer, make_policy):
    policy = make_policy().eval()
    text = tokenizer("x = 1\ndef g(): pass")["input_ids"]
    policy.lm_head = Scripted(policy.lm_head, text)
    given = queries(tokenizer, ["x"])

    made = generate(policy, given, tokenizer, SamplingConfig(len(text), 0.0, stop_words=("\ndef ",)))

    (ids,) = made.completion_ids()
    assert tokenizer.decode(ids).startswith("x = 1\ndef ")
    assert len(ids) < len(text)


def test_row_that_ended_at_a_stop_word_has_no_padding():
    assert _unpadded([5, 6, 0, 0], 0) == [5, 6]
    assert _unpadded([0, 0], 0) == [0]
    assert _unpadded([5, 0, 6], 0) == [5, 0, 6]


def test_small_top_p_is_greedy(tokenizer, make_policy):
    policy, given = make_policy().eval(), queries(tokenizer, ["def add"] * 4)

    narrow = generate(policy, given, tokenizer, SamplingConfig(6, 1.0, top_p=1e-6)).completion_ids()
    greedy = generate(policy, given, tokenizer, SamplingConfig(6, temperature=0.0)).completion_ids()

    assert narrow == greedy


def test_padding_token_falls_back_to_eos(tokenizer):
    without = copy.deepcopy(tokenizer)
    without.pad_token = None

    assert generation.pad_token_id(tokenizer) == tokenizer.pad_token_id
    assert generation.pad_token_id(without) == tokenizer.eos_token_id
