from __future__ import annotations

import copy
import logging

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer import models


# PEFT reads an attribute that transformers 5.23 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def lora():
    return LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1, task_type="CAUSAL_LM")


def sequences():
    ids = torch.tensor([[0, 0, 5, 6, 7, 8], [9, 10, 11, 12, 13, 0]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]], dtype=torch.bool)
    return ids, mask


def test_logits_and_values_predict_the_response(make_policy, make_classifier):
    policy, critic = make_policy().eval(), make_classifier().eval()
    ids, mask = sequences()

    logits, values = models.PolicyAndCritic(policy, critic)(ids, mask, 2)

    alone = policy(ids[:1, 2:]).logits  # row 1 without its padding
    torch.testing.assert_close(logits[0], alone[0, 1:3])
    hidden = critic.model(ids[:1, 2:]).last_hidden_state
    torch.testing.assert_close(values[0], critic.score(hidden)[0, 1:3, 0])


def test_policy_and_reference_give_the_same_logits(make_policy, make_classifier):
    policy = make_policy().eval()
    ids, mask = sequences()

    logits, _ = models.PolicyAndCritic(policy, make_classifier())(ids, mask, 3)

    assert torch.equal(logits, models.response_logits(policy, ids, mask, 3))


def test_model_without_logits_to_keep_gives_the_same_logits(make_policy, monkeypatch):
    policy = make_policy().eval()
    ids, mask = sequences()
    fast = models.response_logits(policy, ids, mask, 3)

    monkeypatch.setattr(models, "takes_logits_to_keep", lambda model: False)

    torch.testing.assert_close(models.response_logits(policy, ids, mask, 3), fast)


def test_critic_has_the_backbone_of_the_policy_and_a_new_head(make_policy):
    policy = make_policy()
    state = torch.get_rng_state()

    critic = models.build_critic(policy, None, seed=0)
    again = models.build_critic(policy, None, seed=0)

    assert torch.equal(torch.get_rng_state(), state)
    assert critic.score.weight.shape == (1, 32)
    assert torch.equal(critic.score.weight, again.score.weight)
    for own, copied in zip(policy.model.parameters(), critic.model.parameters(), strict=True):
        assert torch.equal(own, copied)
        assert own.data_ptr() != copied.data_ptr()
    assert policy.config.num_labels == 2  # the caller's configuration is as it was


def test_a_critic_can_be_saved_and_loaded(make_policy, tmp_path):
    from transformers import AutoModelForSequenceClassification

    critic = models.build_critic(make_policy(), None, seed=0).eval()
    critic.save_pretrained(tmp_path)

    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()

    ids, mask = sequences()
    assert torch.equal(models.head_outputs(again, ids, mask), models.head_outputs(critic, ids, mask))


@pytest.mark.parametrize("with_adapter", [False, True])
def test_head_of_the_critic_is_always_float32(make_policy, with_adapter):
    critic = models.build_critic(make_policy().to(torch.bfloat16), lora() if with_adapter else None, seed=0)
    ids, mask = torch.ones(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool)

    values = models.head_outputs(critic, ids, mask)

    assert values.dtype is torch.float32
    values.sum().backward()
    assert all(p.grad is not None for p in models.base_of(critic).score.parameters() if p.requires_grad)


def test_trained_weights_with_16_bits_give_a_warning(make_policy, caplog):
    full, half = make_policy(), make_policy().to(torch.bfloat16)
    with caplog.at_level(logging.WARNING):
        models.warn_of_lost_steps(full)
        models.warn_of_lost_steps(get_peft_model(copy.deepcopy(half), lora()))  # its adapter is float32
    assert caplog.text == ""

    with caplog.at_level(logging.WARNING):
        models.warn_of_lost_steps(half)

    assert "are bfloat16: steps of a small learning rate are rounded away" in caplog.text


@pytest.mark.parametrize("adapted_before", [False, True])
def test_with_an_adapter_the_critic_shares_the_policys_weights(make_policy, adapted_before):
    policy = make_policy()
    if adapted_before:
        policy = get_peft_model(policy, lora())
        critic = models.build_critic(policy, None, seed=0)
    else:
        critic = models.build_critic(policy, lora(), seed=0)
        policy = get_peft_model(policy, lora())

    base = {p.data_ptr() for name, p in policy.named_parameters() if "lora" not in name}
    trained = {name: p for name, p in critic.named_parameters() if p.requires_grad}
    assert all(
        p.data_ptr() in base for name, p in critic.named_parameters() if "lora" not in name and "score" not in name
    )
    assert trained
    assert all("lora" in name or "score" in name for name in trained)
    assert not {p.data_ptr() for p in trained.values()} & {p.data_ptr() for p in policy.parameters()}


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_trained_biases_are_not_shared(make_policy, bias):
    policy, adapter = make_policy(attention_bias=True), lora()
    adapter.bias = bias

    critic = models.build_critic(policy, adapter, seed=0)
    policy = get_peft_model(policy, adapter)

    trained = {p.data_ptr() for p in policy.parameters() if p.requires_grad}
    own = {name: p for name, p in critic.named_parameters() if p.requires_grad}
    assert any(name.endswith("bias") for name in own)
    assert not trained & {p.data_ptr() for p in critic.parameters()}
    assert any(p.data_ptr() in {q.data_ptr() for q in policy.parameters()} for p in critic.parameters())


def test_adapters_of_policy_and_critic_are_trained_separately(make_policy):
    policy = make_policy()
    critic = models.build_critic(policy, lora(), seed=0)
    policy = get_peft_model(policy, lora())
    ids, mask = sequences()

    _, values = models.PolicyAndCritic(policy, critic)(ids, mask, 2)
    values.sum().backward()

    assert all(p.grad is None for p in policy.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())


def test_error_asks_for_value_model_if_architecture_has_no_classifier(make_policy, monkeypatch):
    def refuse(config):
        raise ValueError("Unrecognized configuration class")

    monkeypatch.setattr(models.AutoModelForSequenceClassification, "from_config", refuse)

    with pytest.raises(ValueError, match="in Python pass a `value_model`"):
        models.build_critic(make_policy(), None, seed=0)


def test_dropout_is_off_in_modules_and_in_attention_layers(make_policy):
    policy = get_peft_model(make_policy(attention_dropout=0.5), lora()).train()

    models.disable_dropout(policy)

    assert {m.p for m in policy.modules() if isinstance(m, torch.nn.Dropout)} <= {0.0}
    ids, mask = sequences()
    assert torch.equal(policy(ids, mask.long()).logits, policy(ids, mask.long()).logits)


def test_gradient_checkpointing_changes_no_gradient(make_policy, make_classifier):
    ids, mask = sequences()

    def gradients(checkpointing):
        both = models.PolicyAndCritic(make_policy(), make_classifier()).train()
        if checkpointing:
            both.gradient_checkpointing_enable()
        logits, values = both(ids, mask, 3)
        (logits.square().mean() + values.sum()).backward()
        return both, {name: p.grad for name, p in both.named_parameters()}

    plain, expected = gradients(False)
    saving, got = gradients(True)

    assert saving.is_gradient_checkpointing
    assert saving.policy.model.layers[0].gradient_checkpointing
    assert saving.value_model.model.layers[0].gradient_checkpointing
    assert not plain.policy.model.layers[0].gradient_checkpointing
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient)
    saving.gradient_checkpointing_disable()
    assert not saving.policy.model.layers[0].gradient_checkpointing


VIRTUAL = [
    PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
]


@pytest.mark.parametrize("adapter", VIRTUAL, ids=lambda config: config.peft_type.value)
def test_adapter_with_virtual_tokens_is_refused(make_policy, adapter):
    with pytest.raises(BadInputError, match=f"type {adapter.peft_type.value} puts virtual tokens in front"):
        models.refuse_virtual_tokens(make_policy(), adapter)
    with pytest.raises(BadInputError, match="Use LoRA"):
        models.refuse_virtual_tokens(get_peft_model(make_policy(), adapter), None)


def test_adapters_without_virtual_tokens_are_taken(make_policy):
    lora = LoraConfig(r=2, task_type="CAUSAL_LM")

    models.refuse_virtual_tokens(make_policy(), None)
    models.refuse_virtual_tokens("name", lora)
    models.refuse_virtual_tokens(get_peft_model(make_policy(), lora), None)


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
def test_logits_are_those_of_the_response_behind_virtual_tokens(make_policy):
    policy = get_peft_model(make_policy(), VIRTUAL[0]).eval()
    ids = torch.arange(5, 14)[None]

    with torch.no_grad():
        found = models.response_logits(policy, ids, torch.ones_like(ids).bool(), 4)
        expected = policy(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -5:-1]

    torch.testing.assert_close(found, expected)
