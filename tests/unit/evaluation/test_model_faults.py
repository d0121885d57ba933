"""Test the sentences about models that cannot be sampled from."""

from __future__ import annotations

import pytest
import torch

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.engines import model_engine
from stepcoder_trl.evaluation.generation import SamplingConfig
from stepcoder_trl.evaluation.model_faults import check_vocabulary, told_without_numbers
from stepcoder_trl.steps.queries import build_query


def test_token_without_embedding_is_named(tokenizer, make_policy):
    model = make_policy()
    model.resize_token_embeddings(len(tokenizer) - 1)
    last, query = len(tokenizer) - 1, build_query("Print 2.", "", tokenizer)

    check_vocabulary(model, tokenizer, [query.token_ids])  # an unused token needs none
    with pytest.raises(BadInputError, match=rf"has {last + 1} tokens, but the model has only {last} embeddings, and"):
        check_vocabulary(model, tokenizer, [query.token_ids, (1, last)])


def test_model_without_numbers_is_named(tokenizer, make_policy):
    model = make_policy()
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    engine = model_engine(model.eval(), tokenizer, SamplingConfig(4, 1.0, 1.0, tokenizer.eos_token_id))

    with pytest.raises(BadInputError, match="the model's logits are infinite or no numbers"):
        engine([build_query("Print 2.", "", tokenizer)], 0)


def test_other_errors_of_a_model_stay():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), told_without_numbers():
        torch.ones(2, 3) @ torch.ones(2, 3)
