"""Facts about a run, for its model card and its page."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from peft import PeftModel

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.reports.run_facts import QueryForm, RunFacts, measured_pass_rates, sampling_text
from stepcoder_trl.steps.queries import Query, build_query
from stepcoder_trl.steps.reward_functions import reward_name
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.trainer.models import base_of
from stepcoder_trl.trainer.sft import SFT_DEFAULTS
from stepcoder_trl.versions import versions


if TYPE_CHECKING:
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer

# Settings that the trainers derive from others.
_DERIVED = {
    *("activation_checkpointing", "activation_checkpointing_kwargs", "batch_size", "local_batch_size"),
    *("local_mini_batch_size", "micro_batch_size", "mini_batch_size", "num_total_batches", "world_size"),
    *("generation_batch_size", "steps_per_generation", "ddp_find_unused_parameters", "dataloader_pin_memory"),
    *("gradient_checkpointing_kwargs", "accelerator_config"),
}
# Settings whose default is `None`: the trainers choose a value, which nobody has set.
_CHOSEN = ("gradient_accumulation_steps", "scale_rewards", "disable_tqdm")
_TOKENS = ("hub_token", "push_to_hub_token")
_REQUIREMENT, _CODE = "REQUIREMENT-0F3A", "CODE-0F3A"  # stand for texts in a query


def card_facts(
    trainer: StepCoderPPOTrainer,
    model_name: str | None = None,
    dataset_name: str | None = None,
    tags: str | Sequence[str] | None = None,
) -> RunFacts:
    """Return the facts about a trainer's current weights. Names that are given replace those of the configuration."""
    args, plan, history = trainer.args, trainer.plan, trainer.state.log_history
    policy = trainer.accelerator.unwrap_model(trainer.model).policy
    update = trainer.run.step_of_weights
    if update is None:
        update = trainer.state.global_step
    names = [reward_name(func) for func in trainer.reward_funcs]
    if trainer.reward_model is not None:
        names.append("reward_model")
    return RunFacts(
        method="ppo",
        model_name=model_name or args.hub_model_id or Path(args.output_dir).resolve().name,
        base_model=public_name(base_of(policy).config.name_or_path),
        adapter=isinstance(policy, PeftModel),
        training_data=dataset_name or args.training_data_name,
        training_data_license=args.training_data_license or _license(trainer.train_dataset),
        num_problems=len(trainer.rows),
        update=update,
        num_updates=plan.num_updates,
        episodes=update * plan.batch_size,
        num_processes=plan.batch_size // plan.local_batch_size,
        pass_rates=measured_pass_rates(history, update, args.eval_data_name, _sampling(args)),
        history=history,
        settings=settings_of(args),
        defaults=defaults_of(args),
        versions=versions(),
        rewards=list(zip(names, trainer.reward_weights, strict=True)),
        query=query_form(trainer.build_query, trainer.rows),
        backend=trainer.runner.backend,
        layers=dict(trainer.runner.layers),
        tags=[tags] if isinstance(tags, str) else list(tags or ()),
    )


def grpo_facts(
    trainer: StepCoderGRPOTrainer,
    model_name: str | None = None,
    dataset_name: str | None = None,
    tags: str | Sequence[str] | None = None,
) -> RunFacts:
    """Return the facts about the current weights of a GRPO trainer. Names that are given replace those it has."""
    args, state, rows = trainer.args, trainer.state, trainer.training_set.rows
    completions = args.per_device_train_batch_size * args.gradient_accumulation_steps
    names = [reward_name(func) for func in trainer.reward_funcs]
    facts = _upstream_facts(trainer, "grpo", query_form(trainer.build_query, rows))
    return dataclasses.replace(
        facts,
        model_name=model_name or facts.model_name,
        training_data=dataset_name or trainer.training_data_name,
        training_data_license=_license(trainer.train_dataset),
        num_problems=len(rows),
        episodes=state.global_step * completions * facts.num_processes,
        pass_rates=measured_pass_rates(state.log_history, state.global_step, None, _grpo_sampling(trainer)),
        rewards=list(zip(names, trainer.reward_weights.tolist(), strict=True)),
        backend=trainer.runner.backend,
        layers=dict(trainer.runner.layers),
        tags=[tags] if isinstance(tags, str) else list(tags or ()),
    )


def sft_facts(
    trainer: Any, tokenizer: Any, problem: Problem, data: str, template_kwargs: Mapping[str, Any] | None
) -> RunFacts:
    """
    Return the facts about the model of TRL's `SFTTrainer`, trained on canonical solutions of the file `data`.

    Prompts have the form of `problem`.
    """

    def build(row: PromptRow, code: str) -> Query:
        return build_query(row.prompt, code, tokenizer, template_kwargs)

    row = PromptRow(problem.task_id, problem.prompt)
    facts = _upstream_facts(trainer, "sft", query_form(build, [row]))
    return dataclasses.replace(facts, training_data=data, defaults={**facts.defaults, **_json(SFT_DEFAULTS)})


def _upstream_facts(trainer: Any, method: str, query: QueryForm) -> RunFacts:
    """Return what is known of every trainer of transformers."""
    args, state = trainer.args, trainer.state
    policy = trainer.accelerator.unwrap_model(trainer.model)
    return RunFacts(
        method=method,
        model_name=args.hub_model_id or Path(args.output_dir).resolve().name,
        base_model=public_name(base_of(policy).config.name_or_path),
        adapter=isinstance(policy, PeftModel),
        training_data=None,
        training_data_license=None,
        num_problems=len(trainer.train_dataset),
        update=state.global_step,
        num_updates=state.max_steps,
        episodes=0,
        num_processes=trainer.accelerator.num_processes,
        pass_rates=[],
        history=state.log_history,
        settings=settings_of(args),
        defaults=defaults_of(args),
        versions=versions(),
        query=query,
    )


def query_form(build: Callable[[PromptRow, str], Query], rows: Sequence[PromptRow]) -> QueryForm:
    """Return the text that stands around requirements in the queries of these rows, as in the first."""
    if isinstance(rows[0].prompt, str):
        return QueryForm()
    system = [message for message in rows[0].prompt if message["role"] == "system"]
    row = dataclasses.replace(rows[0], prompt=[*system, {"role": "user", "content": _REQUIREMENT}])
    query = build(row, _CODE)
    before, _, after = query.text.removesuffix(_CODE).partition(_REQUIREMENT)
    return QueryForm(before, after, special_tokens=not query.opened_fence)


def _sampling(args: Any) -> str:
    """Return how the completions of an evaluation are sampled, in words."""
    length = args.eval_response_length or args.response_length
    return sampling_text(args.eval_num_generations, args.eval_temperature, args.eval_top_p, length)


def _grpo_sampling(trainer: StepCoderGRPOTrainer) -> str:
    args = trainer.args
    return sampling_text(trainer.num_generations_eval, args.temperature, args.top_p, args.max_completion_length)


def _license(dataset: Any) -> str | None:
    return (dataset.info.license or None) if isinstance(dataset, Dataset) and dataset.info is not None else None


def settings_of(args: Any) -> dict[str, Any]:
    """Return the settings of a configuration as JSON values. Tokens of the Hub are left out."""
    # Not `to_dict`, which blanks every value whose name ends in `_token`.
    names = [one.name for one in dataclasses.fields(args) if one.name not in (*_DERIVED, *_TOKENS)]
    settings = {name: _json(getattr(args, name)) for name in names}
    return {**settings, "report_to": settings["report_to"] or "none"}


def defaults_of(args: Any) -> dict[str, Any]:
    """Return the default of each setting that has one. A value that the trainer chooses is none."""
    defaults = {one.name: one.default for one in dataclasses.fields(args) if one.default is not dataclasses.MISSING}
    made = {
        one.name: one.default_factory()
        for one in dataclasses.fields(args)
        if one.default_factory is not dataclasses.MISSING
    }
    known = {**defaults, **made}
    return {name: _json(value) for name, value in known.items() if not (name in _CHOSEN and value is None)}


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda one: one.value if isinstance(one, Enum) else str(one)))


def public_name(name_or_path: str | None) -> str | None:
    """Return the name of a model for the card: of a local path only the last folder."""
    if not name_or_path:
        return None
    return Path(name_or_path).resolve().name if os.path.isdir(name_or_path) else name_or_path
