"""Prefix imitation in TRL's `GRPOTrainer`: log-probabilities of prefixes from the forward pass of its loss."""

from __future__ import annotations

from typing import Any

import torch

from stepcoder_trl.steps.prefixes import prefix_lengths
from stepcoder_trl.trainer._trl_grpo import GRPOTrainer, changed_upstream
from stepcoder_trl.trainer.grpo_round import Round
from stepcoder_trl.trainer.imitation import mean_log_probs


LENGTHS = "prefix_lengths"  # entry of a round's result, which TRL shuffles and splits with the others


def add_prefix_lengths(this: Round, weight: float, tokenizer: Any) -> None:
    """Add the number of prefix tokens of each query to the result of a round, if they are imitated."""
    if weight:
        lengths = prefix_lengths(this.starts, tokenizer)
        this.result[LENGTHS] = torch.tensor(lengths, device=this.result["prompt_ids"].device)


class PrefixPass:
    """
    Forward pass of a micro-batch that also gives the log-probabilities of its prefixes.

    Attributes:
        lengths (`torch.Tensor` of shape `(B,)`): Number of prefix tokens of each query.
        size (`int`): The largest of them.
        log_probs (`torch.Tensor` of shape `(B, size)` or `None`): Log-probabilities of the last tokens of the queries,
            after the pass.
    """

    def __init__(self, lengths: torch.Tensor) -> None:
        self.lengths, self.size = lengths, int(lengths.max())
        self.log_probs: torch.Tensor | None = None

    def take(self, scores: tuple[Any, ...]) -> tuple[Any, ...]:
        """Keep the columns of the prefixes, and return the scores of the completions, as without prefixes."""
        log_probs, entropies, *others = scores
        self.log_probs = log_probs[:, : self.size]
        if entropies is not None:
            entropies = entropies[:, self.size :]
        return log_probs[:, self.size :], entropies, *others

    def means(self) -> torch.Tensor:
        """Return the mean log-probability of each prefix. Shape `(B,)`, 0 without prefix tokens."""
        if self.log_probs is None:
            raise changed_upstream("`_compute_loss` did not call `_get_per_token_logps_and_entropies`")
        return mean_log_probs(self.log_probs, self.lengths)


class PrefixImitationTrainer(GRPOTrainer):
    """
    TRL's `GRPOTrainer`, with prefix imitation in its loss.

    Without the entry `prefix_lengths` in its inputs, and with prefixes of no token, it is `GRPOTrainer`.
    """

    _prefixes: PrefixPass | None = None

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Add the imitation of the prefixes to TRL's loss of a micro-batch."""
        lengths = inputs.get(LENGTHS)
        if lengths is None:
            return super()._compute_loss(model, inputs)
        self._prefixes = PrefixPass(lengths)
        try:
            loss = super()._compute_loss(model, inputs)
            means = self._prefixes.means()
        finally:
            self._prefixes = None
        self._note_log_prob(means.detach().sum(), (lengths > 0).sum())
        # Micro-batches have equally many completions. The mean over them and over processes is the mean of all.
        weight = self.args.prefix_imitation / self.current_gradient_accumulation_steps
        return loss - weight * means.mean()

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Compute log-probabilities of completions, in the pass of a loss those of the prefixes before them too."""
        passing = self._prefixes
        if passing is None:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        kept = logits_to_keep + passing.size
        scores = super()._get_per_token_logps_and_entropies(model, input_ids, attention_mask, kept, *args, **kwargs)
        return passing.take(scores)

    def _note_log_prob(self, total: torch.Tensor, number: torch.Tensor) -> None:
        """Add the mean log-probability of the prefixes of all processes to the metrics, unless there is none."""
        total, number = self.accelerator.reduce(torch.stack([total.float(), number.float()]), "sum")
        if number:
            self._metrics["train"]["curriculum/prefix_log_prob"].append((total / number).item())
