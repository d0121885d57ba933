"""Sampling with vLLM for the PPO trainer, through TRL's `VLLMGeneration`."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from packaging.specifiers import SpecifierSet
from transformers import PreTrainedTokenizerBase

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import (
    Generation,
    SamplingConfig,
    end_completions,
    eos_token_ids,
    generate,
    stop_token_ids,
)
from stepcoder_trl.steps.queries import FENCE, Query
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.starts import longest_query
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.training_set import TrainingSet
from stepcoder_trl.trainer.vllm_options import check_engine, check_window


if TYPE_CHECKING:
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer

WITH_GENERATION = SpecifierSet(">=1.6")  # where `VLLMGeneration` takes the arguments below


class VLLMSampler:
    """
    Samples completions with vLLM. A call has the arguments of [`~evaluation.generation.generate`].

    vLLM has weights of its own: call `sync_weights` when those of the policy have changed. With a LoRA adapter the
    merged weights are sent.

    Args:
        policy ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]): Policy.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Tokenizer.
        accelerator ([`~accelerate.Accelerator`]): Processes of training.
        args ([`StepCoderPPOConfig`]): Configuration.
        num_samples (`int`): Completions of an update and process.
    """

    def __init__(
        self,
        policy: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        accelerator: Accelerator,
        args: StepCoderPPOConfig,
        num_samples: int,
    ) -> None:
        from trl.generation.vllm_generation import VLLMGeneration

        self.engine = VLLMGeneration(
            policy,
            accelerator,
            processing_class=tokenizer,
            mode=args.vllm_mode,
            server_base_url=args.vllm_server_base_url,
            server_host=args.vllm_server_host,
            server_port=args.vllm_server_port,
            server_timeout=args.vllm_server_timeout,
            group_port=args.vllm_group_port,
            tensor_parallel_size=args.vllm_tensor_parallel_size,
            gpu_memory_utilization=args.vllm_gpu_memory_utilization,
            max_model_length=args.vllm_max_model_length,
            max_num_seqs=num_samples * args.vllm_tensor_parallel_size,
            enable_sleep_mode=args.vllm_enable_sleep_mode,
            model_impl=args.vllm_model_impl,
        )
        self.device = accelerator.device

    def sync_weights(self) -> None:
        """Send the weights of the policy to vLLM. Every process must call this."""
        self.engine.sync_weights()

    def __call__(
        self,
        model: torch.nn.Module,
        queries: Sequence[Query],
        tokenizer: PreTrainedTokenizerBase,
        sampling: SamplingConfig,
        batch_size: int = 64,
        *,
        share_prompts: bool = True,
    ) -> Generation:
        """Sample one completion per query. Every process must call this with as many queries."""
        stops = stop_token_ids(sampling, eos_token_ids(model, tokenizer))
        everywhere = gather_object([(query.token_ids, query.opened_fence) for query in queries])
        engine = self.engine
        engine.temperature, engine.top_p = sampling.temperature, sampling.top_p
        engine.max_completion_length = sampling.max_new_tokens
        engine.generation_kwargs = {"ignore_eos": True, "stop_token_ids": stops}
        if all(opened_fence for _, opened_fence in everywhere):
            engine.generation_kwargs["stop"] = [f"\n{FENCE}"]  # spares the text behind the program
        size = group_size([ids for ids, _ in everywhere])
        with torch.autocast(self.device.type, enabled=False):
            _, completion_ids, *_ = engine.generate(
                prompts=[list(query.token_ids) for query in queries], images=None, num_generations=size
            )
        return end_completions(queries, completion_ids, tokenizer, stops, self.device)


def choose_sampler(trainer: StepCoderPPOTrainer) -> Callable[..., Generation]:
    """Return the function that samples completions: vLLM if it is configured, or else transformers."""
    if not trainer.args.use_vllm:
        return generate
    policy, size = trainer.accelerator.unwrap_model(trainer.model).policy, trainer.plan.local_batch_size
    return VLLMSampler(policy, trainer.processing_class, trainer.accelerator, trainer.args, size)


def send_weights(sampler: Callable[..., Generation]) -> None:
    """Send the weights of the policy to a sampler that has its own. Every process must call this."""
    if isinstance(sampler, VLLMSampler):
        sampler.sync_weights()


def group_size(prompts: Sequence[Any]) -> int:
    """Return the largest number for which each run of that many prompts has equal ones. A server gets one of each."""
    return math.gcd(*(len(list(equal)) for _, equal in groupby(prompts)))


def check_vllm(
    args: StepCoderPPOConfig,
    model: torch.nn.Module,
    training_set: TrainingSet,
    eval_sets: Mapping[str, Sequence[PromptRow]],
    build_query: Callable[[PromptRow, str], Query],
) -> None:
    """Raise a `BadInputError` if vLLM shall sample, but is missing, or a query does not fit into its window."""
    version = importlib.metadata.version("trl")
    if args.use_vllm and not WITH_GENERATION.contains(version, prereleases=True):
        raise BadInputError(
            f"`use_vllm` needs trl{WITH_GENERATION} with PPO, but trl {version} is installed. Run `pip install "
            f"'trl{WITH_GENERATION}'`."
        )
    check_engine(args, model)

    def longest(row: PromptRow) -> int:
        return longest_query(row, training_set.curriculum, build_query)

    check_window(args, training_set.rows, longest, args.response_length, "response_length")
    answer, option = args.response_length, "response_length"
    if args.eval_response_length is not None:
        answer, option = args.eval_response_length, "eval_response_length"
    for rows in eval_sets.values():
        check_window(args, rows, lambda row: longest_query(row, None, build_query), answer, option)
