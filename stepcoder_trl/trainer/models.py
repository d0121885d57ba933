"""Policy and critic as one module, and a critic and a reference made from the policy."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from peft import PeftConfig, PeftModel, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer._trl import renamed_attributes_allowed
from stepcoder_trl.trainer.processes import gathered_copy, gathered_for_generation, is_sharded, unsharded_models


logger = logging.getLogger(__name__)


def base_of(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def refuse_virtual_tokens(model: Any, peft_config: PeftConfig | None) -> None:
    """
    Check the adapters of a policy.

    Raises:
        BadInputError: If one puts virtual tokens in front of the input, as prompt tuning does. Then positions of the
            text, of its mask and of its log-probabilities would be shifted.
    """
    present = list(model.peft_config.values()) if isinstance(model, PeftModel) else []
    for adapter in [*present, *([] if peft_config is None else [peft_config])]:
        if adapter.is_prompt_learning:
            raise BadInputError(
                f"An adapter of the type {adapter.peft_type.value} puts virtual tokens in front of the input, which "
                "the trainers do not support. Use LoRA: `LoraConfig(task_type='CAUSAL_LM')`."
            )


def takes_logits_to_keep(model: torch.nn.Module) -> bool:
    """Whether the model can skip the logits of the query."""
    return "logits_to_keep" in inspect.signature(base_of(model).forward).parameters


def response_logits(
    model: torch.nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor, response_length: int
) -> torch.Tensor:
    """Return the logits that predict the last `T` tokens of sequences `(B, Q + T)`. Shape `(B, T, V)`."""
    # Positions, not a number of last tokens: that would return one row more, and the gradient of the slice without it
    # is a copy of all logits. Counted from the end, because a model may put virtual tokens in front.
    places = torch.arange(-response_length - 1, -1, device=input_ids.device)
    sparing = takes_logits_to_keep(model)
    keep: dict[str, Any] = {"logits_to_keep": places} if sparing else {}
    output = model(
        input_ids=input_ids,
        attention_mask=attention_mask.long(),
        position_ids=positions(attention_mask),
        use_cache=False,
        **keep,
    )
    return output.logits if sparing else output.logits[:, places]


def head_outputs(model: torch.nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the output of a sequence classifier's scalar head at every token. Shape `(B, Q + T)`."""
    base = base_of(model)
    hidden = base.base_model(
        input_ids=input_ids,
        attention_mask=attention_mask.long(),
        position_ids=positions(attention_mask),
        use_cache=False,
    ).last_hidden_state
    return base.score(hidden.to(next(base.score.parameters()).dtype)).squeeze(-1)


def positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the position of each token in its own text, without the padding on the left."""
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)


class PolicyAndCritic(torch.nn.Module):
    """
    Policy and critic as one module, so that one `accelerator.prepare` and one backward pass serve both.

    The critic is a sequence classifier with a scalar head `score`. Unlike upstream's wrapper, the module computes only
    the logits and values that the losses need.
    """

    def __init__(self, policy: torch.nn.Module, value_model: torch.nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.value_model = value_model
        self.is_gradient_checkpointing = False

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """Recompute the activations of policy and critic in the backward pass."""
        kwargs = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}
        for model in (self.policy, self.value_model):
            _switch_checkpointing(base_of(model), kwargs)
        self.is_gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Store the activations of policy and critic for the backward pass."""
        for model in (self.policy, self.value_model):
            _switch_checkpointing(base_of(model), None)
        self.is_gradient_checkpointing = False

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, response_length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits `(B, T, V)` that predict the last `T` tokens, and the values `(B, T)` before them."""
        values = head_outputs(self.value_model, input_ids, attention_mask)
        logits = response_logits(self.policy, input_ids, attention_mask, response_length)
        return logits, values[:, -response_length - 1 : -1].float()


def _switch_checkpointing(model: torch.nn.Module, kwargs: dict[str, Any] | None) -> None:
    """Turn checkpointing on with `kwargs`, off with `None`. Transformers 5.23 renamed the methods."""
    renamed = "activation_checkpointing_enable" in dir(PreTrainedModel)
    if kwargs is None:
        (model.activation_checkpointing_disable if renamed else model.gradient_checkpointing_disable)()
    else:
        (model.activation_checkpointing_enable if renamed else model.gradient_checkpointing_enable)(kwargs)


def disable_dropout(model: torch.nn.Module) -> None:
    """Set every dropout probability to 0, so that two forward passes give the same probabilities."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():  # attention layers store it as a float
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def warn_of_lost_steps(model: torch.nn.Module) -> None:
    """Warn if trained weights have 16 bits: small steps get lost. DeepSpeed keeps float32 copies instead."""
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
    short = sorted(str(dtype).removeprefix("torch.") for dtype in dtypes if dtype.itemsize == 2)
    if short:
        logger.warning(
            f"The weights to be trained are {' and '.join(short)}: steps of a small learning rate are rounded away. "
            "Load the model with `dtype=torch.float32`; `bf16=True` computes in bfloat16 all the same."
        )


def build_critic(policy: torch.nn.Module, peft_config: PeftConfig | None, seed: int) -> torch.nn.Module:
    """
    Make a critic from the policy: its backbone with a new scalar head `score`, and an adapter if the policy has one.

    With an adapter, policy and critic share the frozen weights of the backbone. Other weights that the adapter trains,
    such as biases, are copied. Without an adapter all weights are copied. The global random state does not change.

    Raises:
        BadInputError: If the architecture has no sequence classifier with a head `score`.
    """
    if isinstance(policy, PeftModel):
        peft_config = policy.peft_config[policy.active_adapter]
        base = _copy(policy, _shared(policy.get_base_model(), only_frozen=True)).unload()
    else:
        base = _copy(policy, _shared(policy, only_frozen=False) if peft_config is not None else {})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        critic = _classifier_around(base)
        if peft_config is None:
            return critic
        adapter = copy.deepcopy(peft_config)
        adapter.task_type = TaskType.SEQ_CLS
        with renamed_attributes_allowed():
            critic = get_peft_model(critic, adapter)
    _copy_trained(critic, {id(parameter) for parameter in policy.parameters()})
    return critic


def default_models(
    policy: Any, critic: torch.nn.Module | None, reference: torch.nn.Module | None, peft_config: Any, seed: int
) -> tuple[torch.nn.Module, torch.nn.Module | None]:
    """
    Return critic and reference, made from the policy if they are not given.

    The reference is `None` if it is the policy without its adapter.
    """
    if critic is None:
        critic = build_critic(policy, peft_config, seed)
    if reference is None and peft_config is None and not isinstance(policy, PeftModel):
        reference = _copy(policy, {}).eval().requires_grad_(False)
    return critic, reference


def _copy(model: torch.nn.Module, shared: Mapping[int, torch.Tensor]) -> Any:
    """Copy a model, except for its `shared` parameters. Sharded parameters are gathered."""
    sharded = {id(p): p for p in model.parameters() if id(p) not in shared and is_sharded([p])}
    return copy.deepcopy(model, {**shared, **{key: gathered_copy(parameter) for key, parameter in sharded.items()}})


def _copy_trained(critic: torch.nn.Module, shared: set[int]) -> None:
    """Copy the shared parameters that the critic's adapter trains: biases, with `bias="all"`."""
    for module in critic.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) in shared:
                setattr(module, name, gathered_copy(parameter))


def _shared(model: torch.nn.Module, only_frozen: bool) -> dict[int, torch.Tensor]:
    """Return a memo with which `deepcopy` shares a model's parameters instead of copying them."""
    return {id(p): p for p in model.parameters() if not (only_frozen and p.requires_grad)}


def _classifier_around(causal_lm: PreTrainedModel) -> PreTrainedModel:
    """Return a sequence classifier around the backbone of a causal language model."""
    config = copy.deepcopy(causal_lm.config)
    config.num_labels = 1
    why = "Choose another model, or in Python pass a `value_model`: a classifier with one label whose head is `score`."
    try:
        with unsharded_models(), torch.device("meta"):
            critic = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise BadInputError(
            f"transformers has no sequence classifier for {type(causal_lm).__name__}. {why}"
        ) from error
    reference = next(causal_lm.parameters())
    setattr(critic, critic.base_model_prefix, causal_lm.base_model)
    head = torch.nn.Linear(config.get_text_config().hidden_size, 1, bias=False)
    torch.nn.init.normal_(head.weight, std=0.02)
    # Always float32: in 16 bits the steps of a small learning rate would be rounded away.
    critic.score = head.to(reference.device)
    if any(parameter.is_meta for parameter in critic.parameters()):
        raise BadInputError(f"The head of {type(critic).__name__} is not called `score`. {why}")
    return critic


@contextmanager
def policy_for_generation(
    accelerator: Accelerator, model: torch.nn.Module, gather: bool, checkpointing: dict[str, Any] | None
) -> Iterator[torch.nn.Module]:
    """
    Yield the policy without gradient checkpointing, which is switched on again with the arguments `checkpointing`.

    With `gather`, ZeRO-3 gathers the weights once for the whole block.
    """
    bare = accelerator.unwrap_model(model)
    recomputes = bare.is_gradient_checkpointing
    if recomputes:
        bare.gradient_checkpointing_disable()
    try:
        with gathered_for_generation(model, bare.policy, gather):
            yield bare.policy
    finally:
        if recomputes:
            bare.gradient_checkpointing_enable(checkpointing)


@contextmanager
def reference_policy(
    ref_model: torch.nn.Module | None, policy: PeftModel, ref_adapter: str | None, own_adapter: str | None
) -> Iterator[torch.nn.Module]:
    """Yield the reference model, or else the policy with the adapter of the reference, or else without adapter."""
    if ref_model is not None:
        yield ref_model
    elif ref_adapter:
        policy.set_adapter(ref_adapter)
        try:
            yield policy
        finally:
            policy.set_adapter(own_adapter or "default")
    else:
        with policy.disable_adapter():
            yield policy
