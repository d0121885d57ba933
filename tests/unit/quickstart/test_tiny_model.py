"""Tokenizer, model and fine-tuning."""

import itertools

import pytest
import torch

from stepcoder_trl.quickstart.problems import SyntheticConfig, noisy_demonstrations
from stepcoder_trl.quickstart.tiny_model import (
    SFTConfig,
    TinyModelConfig,
    _encode,
    build_model,
    build_tokenizer,
    fine_tune,
)
from stepcoder_trl.steps.queries import build_query
from stepcoder_trl.tokens import token_texts


CONFIG = SyntheticConfig(min_clauses=1, max_clauses=1, max_arms=1)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(one.prompt + one.program for one in itertools.islice(noisy_demonstrations(0), 300))


def test_every_word_of_corpus_is_one_token(tokenizer):
    ids = tokenizer("        if v % 4 == 0:\n            t = max(t, v)\n".strip())["input_ids"]

    tokens = [tokenizer.decode([i]) for i in ids]
    assert tokens == [
        "if",
        " v",
        " %",
        " 4",
        " ==",
        " 0",
        ":",
        "\n            ",
        "t",
        " =",
        " max",
        "(",
        "t",
        ",",
        " v",
        ")",
    ]


@pytest.mark.parametrize(
    "text", ["def f(xs):\n    return 0\n\n\n", "tab\tand\r\nreturn", "ünï 漢字 🙂", "  x  =  1  ", "\x00"]
)
def test_encoded_text_decodes_to_itself(tokenizer, text):
    ids = tokenizer(text)["input_ids"]

    assert tokenizer.decode(ids) == text
    assert token_texts(ids, tokenizer).text == text


def test_text_is_concatenation_of_its_tokens(tokenizer):
    for one in itertools.islice(noisy_demonstrations(1), 50):
        ids = tokenizer(one.program)["input_ids"]
        spans = token_texts(ids, tokenizer).spans

        assert "".join(tokenizer.decode([i]) for i in ids) == one.program
        assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]


def test_special_tokens_differ(tokenizer):
    assert tokenizer.eos_token_id != tokenizer.pad_token_id


def test_tokenizer_is_deterministic(tokenizer):
    again = build_tokenizer(one.prompt + one.program for one in itertools.islice(noisy_demonstrations(0), 300))

    assert again.get_vocab() == tokenizer.get_vocab()


def test_examples_begin_with_query_of_trainer(tokenizer):
    one = next(noisy_demonstrations(3))
    query = build_query(one.prompt, one.starter_code, tokenizer)

    example = _encode(one, tokenizer)

    assert tuple(example.query_ids) == query.token_ids
    assert query.prefix + tokenizer.decode(example.completion_ids[:-1]) == one.program.rstrip()
    assert example.completion_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(example.completion_ids[:1]) == "\n    "


def test_same_seed_gives_same_weights_and_keeps_random_state(tokenizer):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, second = (build_model(tokenizer, TinyModelConfig(hidden_size=16, num_heads=2), seed=4) for _ in range(2))

    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_fine_tuning_lowers_loss_and_reports_each_step(tokenizer):
    model = build_model(tokenizer, TinyModelConfig(hidden_size=32, num_heads=2), seed=0)
    seen = []

    config = SFTConfig(num_steps=40, batch_size=16, learning_rate=1e-2, warmup_steps=5)
    curve = fine_tune(model, tokenizer, noisy_demonstrations(0, CONFIG), config, on_step=seen.append)

    assert seen == curve
    assert [step.step for step in curve] == list(range(1, 41))
    assert curve[0].loss > 4
    assert curve[-1].loss < 1
    assert not model.training


def test_loss_floor_is_entropy_of_planted_errors(tokenizer):
    model = build_model(tokenizer, TinyModelConfig(hidden_size=16, num_heads=2), seed=0)
    demonstrations = list(itertools.islice(noisy_demonstrations(0, CONFIG), 16 * 8))
    tokens = sum(len(_encode(one, tokenizer).completion_ids) for one in demonstrations)

    (step,) = fine_tune(model, tokenizer, iter(demonstrations), SFTConfig(num_steps=1, batch_size=128))

    assert step.floor == pytest.approx(-sum(one.log_probability for one in demonstrations) / tokens)


@pytest.mark.parametrize("changes", [{"hidden_size": 20, "num_heads": 4}, {"num_layers": 0}])
def test_invalid_size_raises(changes):
    with pytest.raises(ValueError, match=r"`hidden_size` is 20|below 1"):
        TinyModelConfig(**changes)
