"""Tiny language model, its tokenizer and its supervised fine-tuning."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.optimization import get_cosine_schedule_with_warmup

from stepcoder_trl.quickstart.problems import Demonstration
from stepcoder_trl.steps.queries import query_text


EOS_TOKEN = "<|endoftext|>"
PAD_TOKEN = "<|pad|>"

# A token holds a line end with the indentation after it, or a word or operator with the space before it.
_WORDS = r"\n *| ?[A-Za-z_]+| ?[0-9]| ?[^\sA-Za-z0-9_]+|\s"
_MAX_VOCABULARY = 2048  # more than the generated problems need, so that every word becomes one token
_IGNORED = -100  # label that `cross_entropy` ignores


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """
    Build a byte-level BPE tokenizer, which pads on the left, and in which every word of the texts is one token.

    Decoding an encoded text returns it unchanged. The text of a sequence is the concatenation of its tokens' texts.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_MAX_VOCABULARY,
        special_tokens=[EOS_TOKEN, PAD_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS_TOKEN,
        pad_token=PAD_TOKEN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


@dataclass(frozen=True)
class TinyModelConfig:
    """Size of the model."""

    hidden_size: int = 96
    num_layers: int = 2  # copying a constant from the description takes two
    num_heads: int = 4
    max_positions: int = 512  # maximum number of tokens of a description with its program

    def __post_init__(self) -> None:
        if min(self.hidden_size, self.num_layers, self.num_heads, self.max_positions) < 1:
            raise ValueError(f"{self} has a value below 1. Leave it out for the default.")
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"`hidden_size` is {self.hidden_size}, but must be a multiple of {2 * self.num_heads}: "
                f"{self.num_heads} heads of even width."
            )


def build_model(tokenizer: PreTrainedTokenizerFast, config: TinyModelConfig, seed: int) -> LlamaForCausalLM:
    """Build a Llama whose random weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=config.hidden_size,
                intermediate_size=config.hidden_size * 8 // 3,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                num_key_value_heads=config.num_heads,
                max_position_embeddings=config.max_positions,
                # The usual 0.02 doubles the steps until a model of this width copies constants.
                initializer_range=0.05,
                tie_word_embeddings=False,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )


@dataclass(frozen=True)
class SFTConfig:
    """
    Settings of supervised fine-tuning.

    The demonstrations of `batches_sorted_together` batches are sorted by length before the batches are shuffled, so
    that batches have little padding. Use 1 for demonstrations that repeat: equal ones would gather in one batch.
    """

    num_steps: int = 400  # no program passes before the model copies constants, which it learns suddenly
    batch_size: int = 32
    learning_rate: float = 4e-3  # peak for embeddings, norms and output layer (AdamW); it falls to zero on a cosine
    matrix_learning_rate: float = 6e-3  # peak for the inner matrices (Muon)
    warmup_steps: int = 50
    batches_sorted_together: int = 16


@dataclass(frozen=True)
class SFTStep:
    """One step of supervised fine-tuning."""

    step: int  # number of steps done
    loss: float  # mean per token of the programs, in nats
    floor: float  # lowest possible loss on this batch: the entropy of the planted errors
    seconds: float  # since the start


@dataclass(frozen=True)
class _Example:
    query_ids: list[int]
    completion_ids: list[int]
    log_probability: float

    @property
    def length(self) -> int:
        return len(self.query_ids) + len(self.completion_ids)


def fine_tune(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    demonstrations: Iterator[Demonstration],
    config: SFTConfig,
    on_step: Callable[[SFTStep], None] = lambda step: None,
) -> list[SFTStep]:
    """
    Fine-tune on demonstrations, in the form of training and evaluation: query, completion, EOS.

    Each demonstration is used once. The model is left in evaluation mode. One record per step is returned.
    """
    optimizers = _optimizers(model, config)
    schedules = [get_cosine_schedule_with_warmup(one, config.warmup_steps, config.num_steps) for one in optimizers]
    batches = _batches(demonstrations, tokenizer, config)
    start_s = time.perf_counter()
    curve = []
    model.train()
    for step, batch in enumerate(itertools.islice(batches, config.num_steps), start=1):
        loss = _completion_loss(model, batch, tokenizer.pad_token_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        floor = -sum(example.log_probability for example in batch) / sum(len(e.completion_ids) for e in batch)
        curve.append(SFTStep(step, loss.item(), floor, time.perf_counter() - start_s))
        on_step(curve[-1])
    model.eval()
    return curve


def _optimizers(model: LlamaForCausalLM, config: SFTConfig) -> list[torch.optim.Optimizer]:
    """Return Muon for the inner matrices and AdamW for the rest. AdamW alone takes twice the steps."""
    inner = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]
    chosen = {id(parameter) for parameter in inner}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return [
        torch.optim.Muon(inner, lr=config.matrix_learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def _batches(
    demonstrations: Iterator[Demonstration], tokenizer: PreTrainedTokenizerFast, config: SFTConfig
) -> Iterator[list[_Example]]:
    order = random.Random(0)
    size = config.batch_size
    while True:
        several = list(itertools.islice(demonstrations, size * config.batches_sorted_together))
        examples = sorted((_encode(one, tokenizer) for one in several), key=lambda example: example.length)
        batches = [examples[start : start + size] for start in range(0, len(examples), size)]
        order.shuffle(batches)
        yield from batches


def _encode(demonstration: Demonstration, tokenizer: PreTrainedTokenizerFast) -> _Example:
    """Encode the query as the trainer builds it, and the rest of the program, without its last line end, with EOS."""
    query, _ = query_text(demonstration.prompt, demonstration.starter_code, tokenizer)
    rest = (demonstration.prompt + demonstration.program).rstrip()[len(query) :]
    completion_ids = [*tokenizer(rest)["input_ids"], tokenizer.eos_token_id]
    return _Example(tokenizer(query)["input_ids"], completion_ids, demonstration.log_probability)


def _completion_loss(model: LlamaForCausalLM, batch: Sequence[_Example], pad: int) -> torch.Tensor:
    """Return the mean cross-entropy of the completions' tokens."""
    width = max(example.length for example in batch)
    ids = torch.full((len(batch), width), pad)
    labels = torch.full((len(batch), width), _IGNORED)
    for row, example in enumerate(batch):
        begin = len(example.query_ids)
        ids[row, : example.length] = torch.tensor(example.query_ids + example.completion_ids)
        labels[row, begin : example.length] = torch.tensor(example.completion_ids)
    # Padding on the right needs no attention mask, because attention is causal.
    hidden = model.model(input_ids=ids.to(model.device), use_cache=False).last_hidden_state[:, :-1]
    labels = labels.to(model.device)
    learnt = labels[:, 1:] != _IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[learnt]), labels[:, 1:][learnt])
