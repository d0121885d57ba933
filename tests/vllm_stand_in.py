"""Stand-in for the client of a vLLM server: a transformers model in this process, with the weights that it is sent."""

from __future__ import annotations

from typing import Any

import torch


class StandInClient:
    """
    Client whose server is a model in this process.

    Attributes:
        model (`torch.nn.Module`): Model that samples. A class attribute: TRL makes the client.
        calls (`list[dict]`): Arguments of each call of `generate`.
        updates (`int`): How often all weights were sent.
        log_probs (`list[list[list[float]]]`): Log-probabilities of the sampled tokens of each call.
    """

    model: Any = None

    def __init__(self, base_url: str, **options: Any) -> None:
        self.base_url = base_url
        self.calls: list[dict[str, Any]] = []
        self.updates = 0
        self.log_probs: list[list[list[float]]] = []

    def init_communicator(self, device: Any) -> None: ...

    def get_server_info(self) -> dict[str, Any]:
        """Say that log-probabilities are those after temperature and top-p."""
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def update_named_param(self, name: str, weights: torch.Tensor) -> None:
        """Take one tensor, as TRL sends them up to 1.6."""
        self.model.get_parameter(name).data.copy_(weights)

    def update_named_params(self, metadata: Any, params: Any) -> None:
        """Take all tensors."""
        names = []
        for (name, dtype, shape), (sent, weights) in zip(metadata, params, strict=True):
            assert (name, f"torch.{dtype}", shape) == (sent, str(weights.dtype), list(weights.shape))
            self.update_named_param(name, weights)
            names.append(name)
        assert set(names) == {name for name, _ in self.model.named_parameters()}

    def reset_prefix_cache(self) -> None:
        self.updates += 1

    @torch.no_grad()
    def generate(self, prompts: list[list[int]], n: int, temperature: float, max_tokens: int, **others: Any) -> Any:
        """Sample `n` completions per prompt. EOS ends one, and with `ignore_eos` only `stop_token_ids`."""
        self.calls.append({"prompts": prompts, "n": n, "temperature": temperature, "max_tokens": max_tokens, **others})
        asked = others.get("generation_kwargs") or {}
        eos = set() if asked.get("ignore_eos") else {self.model.config.eos_token_id}
        ends = eos | {*asked.get("stop_token_ids", ())}
        rows = [self._sample(prompt, temperature, max_tokens, ends) for prompt in prompts for _ in range(n)]
        self.log_probs.append([log_probs for _, log_probs in rows])
        return {
            "prompt_ids": prompts,
            "completion_ids": [ids for ids, _ in rows],
            "logprobs": [[[one] for one in log_probs] for _, log_probs in rows],
            "logprob_token_ids": [[[one] for one in ids] for ids, _ in rows],
        }

    def _sample(
        self, prompt: list[int], temperature: float, max_tokens: int, ends: set[int]
    ) -> tuple[list[int], list[float]]:
        ids, log_probs = list(prompt), []
        while len(log_probs) < max_tokens and (not log_probs or ids[-1] not in ends):
            log_prob = (self.model(torch.tensor([ids])).logits[0, -1] / (temperature or 1e-6)).log_softmax(-1)
            ids.append(int(log_prob.exp().multinomial(1)))
            log_probs.append(log_prob[ids[-1]].item())
        return ids[len(prompt) :], log_probs
