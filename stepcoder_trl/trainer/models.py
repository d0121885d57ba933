"""Policy and critic: one module for both, and a critic made from the policy."""

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
    """Model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def takes_logits_to_keep(model: torch.nn.Module) -> bool:
    """Whether the model can leave out the logits of the query."""
    return "logits_to_keep" in inspect.signature(base_of(model).forward).parameters


def response_logits(
    model: torch.nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor, response_length: int
) -> torch.Tensor:
    """
    Scores that predict each response token.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Causal language model.
        input_ids (`torch.Tensor` of shape `(B, Q + T)`):
            Query and response.
        attention_mask (`torch.Tensor` of shape `(B, Q + T)`):
            `True` where a token stands.
        response_length (`int`):
            `T`.

    Returns:
        `torch.Tensor`: Shape `(B, T, V)`.
    """
    # The places before each response token. A number of last tokens instead would add one whose logits are sliced off,
    # and the gradient of a slice is a copy of all of them.
    places = torch.arange(-response_length - 1, -1, device=input_ids.device) + input_ids.shape[1]
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
    """Output of a sequence classifier's scalar head at every token, shape `(B, Q + T)`."""
    base = base_of(model)
    hidden = base.base_model(
        input_ids=input_ids,
        attention_mask=attention_mask.long(),
        position_ids=positions(attention_mask),
        use_cache=False,
    ).last_hidden_state
    return base.score(hidden.to(next(base.score.parameters()).dtype)).squeeze(-1)


def positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """Position of each token in its own text: padding on the left does not count."""
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)


class PolicyAndCritic(torch.nn.Module):
    """
    Policy and critic as one module, so that one `accelerator.prepare` and one backward pass serve both.

    Upstream's wrapper returns the logits of the whole sequence and all hidden states; this one what the loss needs.

    Attributes:
        policy (`torch.nn.Module`): Causal language model.
        value_model (`torch.nn.Module`): Sequence classifier with a scalar head `score`.
        is_gradient_checkpointing (`bool`): Whether activations are recomputed in the backward pass.
    """

    def __init__(self, policy: torch.nn.Module, value_model: torch.nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.value_model = value_model
        self.is_gradient_checkpointing = False

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """Recompute activations of policy and critic in the backward pass."""
        kwargs = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}
        for model in (self.policy, self.value_model):
            _switch_checkpointing(base_of(model), kwargs)
        self.is_gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations."""
        for model in (self.policy, self.value_model):
            _switch_checkpointing(base_of(model), None)
        self.is_gradient_checkpointing = False

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, response_length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Predict each response token and the value before it.

        Args:
            input_ids (`torch.Tensor` of shape `(B, Q + T)`):
                Query and response.
            attention_mask (`torch.Tensor` of shape `(B, Q + T)`):
                `True` where a token stands.
            response_length (`int`):
                `T`.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Logits of shape `(B, T, V)` and values of shape `(B, T)`.
        """
        values = head_outputs(self.value_model, input_ids, attention_mask)
        logits = response_logits(self.policy, input_ids, attention_mask, response_length)
        return logits, values[:, -response_length - 1 : -1].float()


def _switch_checkpointing(model: torch.nn.Module, kwargs: dict[str, Any] | None) -> None:
    """Turn checkpointing on with `kwargs`, off with `None`; transformers 5.23 renamed the methods."""
    renamed = "activation_checkpointing_enable" in dir(PreTrainedModel)
    if kwargs is None:
        (model.activation_checkpointing_disable if renamed else model.gradient_checkpointing_disable)()
    else:
        (model.activation_checkpointing_enable if renamed else model.gradient_checkpointing_enable)(kwargs)


def disable_dropout(model: torch.nn.Module) -> None:
    """
    Set every dropout probability to 0.

    A ratio of probabilities from two passes means nothing with dropout. Attention layers keep theirs as a plain float.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def warn_of_lost_steps(model: torch.nn.Module) -> None:
    """Warn of weights of 16 bits that are trained as they are, as DeepSpeed's are not: small steps get lost."""
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
    short = sorted(str(dtype).removeprefix("torch.") for dtype in dtypes if dtype.itemsize == 2)
    if short:
        logger.warning(
            f"The weights to be trained are {' and '.join(short)}: steps of a small learning rate are rounded away. "
            "Load the model with `dtype=torch.float32`; `bf16=True` computes in bfloat16 all the same."
        )


def build_critic(policy: torch.nn.Module, peft_config: PeftConfig | None, seed: int) -> torch.nn.Module:
    """
    Make a critic from the policy: its backbone and a fresh scalar head.

    With PEFT the backbone's weights are the policy's own, shared and frozen; the critic adds an adapter and the head.
    What the adapter trains besides itself, such as biases, is a copy. Without PEFT all weights are copied.

    Args:
        policy ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Policy, before or after it got its adapter.
        peft_config ([`~peft.PeftConfig`] or `None`):
            Adapter to add. A policy that is a `PeftModel` brings its own.
        seed (`int`):
            Seed of the head's weights. The global random state stays as it was.

    Returns:
        `torch.nn.Module`: Sequence classifier with one output per token, under `score`.

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
    Critic and reference, made from the policy where they are not given.

    Args:
        policy ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Policy, before it gets its adapter.
        critic, reference (`torch.nn.Module` or `None`):
            Models given.
        peft_config ([`~peft.PeftConfig`] or `None`):
            Adapter of the policy.
        seed (`int`):
            Seed of the critic's head.

    Returns:
        `tuple[torch.nn.Module, torch.nn.Module | None]`: Critic and reference. The reference is `None` where it is the
        policy without its adapter.
    """
    if critic is None:
        critic = build_critic(policy, peft_config, seed)
    if reference is None and peft_config is None and not isinstance(policy, PeftModel):
        reference = build_reference(policy)
    return critic, reference


def build_reference(policy: PreTrainedModel) -> PreTrainedModel:
    """Frozen copy of a policy."""
    return _copy(policy, {}).eval().requires_grad_(False)


def _copy(model: torch.nn.Module, shared: Mapping[int, torch.Tensor]) -> Any:
    """Copy of a model that shares some parameters. Sharded ones are gathered and copied."""
    sharded = {id(p): p for p in model.parameters() if id(p) not in shared and is_sharded([p])}
    return copy.deepcopy(model, {**shared, **{key: gathered_copy(parameter) for key, parameter in sharded.items()}})


def _copy_trained(critic: torch.nn.Module, shared: set[int]) -> None:
    """Give the critic its own copy of what its adapter trains besides itself: biases, with `bias="all"`."""
    for module in critic.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) in shared:
                setattr(module, name, gathered_copy(parameter))


def _shared(model: torch.nn.Module, only_frozen: bool) -> dict[int, torch.Tensor]:
    """Memo for `deepcopy` that hands out a model's parameters themselves instead of copies."""
    return {id(p): p for p in model.parameters() if not (only_frozen and p.requires_grad)}


def _classifier_around(causal_lm: PreTrainedModel) -> PreTrainedModel:
    """Sequence classifier that takes over the backbone of a causal language model."""
    config = copy.deepcopy(causal_lm.config)
    config.num_labels = 1
    why = "Pass a `value_model`: a sequence classifier with one label whose head is called `score`."
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
    # float32 whatever the backbone is: in 16 bits the steps of a small learning rate would be rounded away.
    critic.score = head.to(reference.device)
    if any(parameter.is_meta for parameter in critic.parameters()):
        raise BadInputError(f"The head of {type(critic).__name__} is not called `score`. {why}")
    return critic


@contextmanager
def policy_for_generation(
    accelerator: Accelerator, model: torch.nn.Module, gather: bool, checkpointing: dict[str, Any] | None
) -> Iterator[torch.nn.Module]:
    """
    Yield the policy, gathered and without checkpointing of activations.

    Args:
        accelerator ([`~accelerate.Accelerator`]):
            Accelerator.
        model (`torch.nn.Module`):
            Policy and critic, as the accelerator prepared them.
        gather (`bool`):
            Whether ZeRO-3 gathers the weights once for the whole block.
        checkpointing (`dict` or `None`):
            Keyword arguments with which checkpointing is switched on again.
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
def as_reference(policy: PeftModel, ref_adapter: str | None, own_adapter: str | None) -> Iterator[None]:
    """Switch a policy's adapter off within the block, or to the reference's if that has a name."""
    if not ref_adapter:
        with policy.disable_adapter():
            yield
        return
    policy.set_adapter(ref_adapter)
    try:
        yield
    finally:
        policy.set_adapter(own_adapter or "default")


@contextmanager
def reference_policy(
    ref_model: torch.nn.Module | None, policy: PeftModel, ref_adapter: str | None, own_adapter: str | None
) -> Iterator[torch.nn.Module]:
    """Yield the reference model, or the policy without its adapter where there is none."""
    if ref_model is not None:
        yield ref_model
        return
    with as_reference(policy, ref_adapter, own_adapter):
        yield policy
