"""Setup of a GRPO run: what is refused, the default reward, and datasets as TRL takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftConfig
from transformers import ProcessorMixin

from stepcoder_trl.curriculum import Curriculum
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor import Backend
from stepcoder_trl.rewards import REWARDS, unit_test_reward
from stepcoder_trl.steps.chat_templates import read_template_kwargs
from stepcoder_trl.steps.credit import choose_test_score
from stepcoder_trl.steps.queries import Query, build_query
from stepcoder_trl.steps.reward_functions import named_reward, names_reward_model, takes_columns
from stepcoder_trl.steps.rows import PromptRow, as_rows, fitting_rows, named_sets, read_dataset
from stepcoder_trl.steps.scores import guarded
from stepcoder_trl.steps.starts import longest_query
from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig
from stepcoder_trl.trainer.inputs import check_end, check_model
from stepcoder_trl.trainer.models import refuse_virtual_tokens
from stepcoder_trl.trainer.setup import query_limit, warn_without_effect
from stepcoder_trl.trainer.shared_options import check_config
from stepcoder_trl.trainer.training_set import TrainingSet
from stepcoder_trl.trainer.vllm_options import check_engine, check_window


ROW = "row"  # column of the datasets that TRL gets: index of the row here


@dataclass(frozen=True)
class Given:
    """
    Arguments of a trainer after checks and defaults.

    Attributes:
        args ([`StepCoderGRPOConfig`]): Configuration.
        reward_funcs (`list`): Reward functions.
        rows (`list[PromptRow]`): Training set.
        eval_sets (`dict[str, list[PromptRow]]`): Evaluation sets by name. A single set has the name `""`.
    """

    args: StepCoderGRPOConfig
    reward_funcs: list[Any]
    rows: list[PromptRow]
    eval_sets: dict[str, list[PromptRow]]

    def for_upstream(self) -> dict[str, Any]:
        """Return the arguments of TRL's constructor. Its datasets are replaced when the tokenizer is known."""
        return {
            "args": self.args,
            "reward_funcs": self.reward_funcs,
            "train_dataset": index_dataset(range(len(self.rows))),
            "eval_dataset": index_dataset([0]) if self.eval_sets else None,
        }


def prepare(
    model: Any,
    reward_funcs: Any,
    args: StepCoderGRPOConfig | None,
    train_dataset: Any,
    eval_dataset: Any,
    peft_config: PeftConfig | None,
    executor: Backend | None = None,
) -> Given:
    """Check the arguments of a trainer, and fill in the defaults."""
    check_model(model)
    refuse_virtual_tokens(model, peft_config)
    if args is not None:
        check_config(args, StepCoderGRPOConfig)
    args = args or default_args(model)
    warn_without_effect(args)
    check_engine(args, model)
    rows = read_rows(train_dataset, "train_dataset")
    funcs = choose_rewards(rows, reward_funcs, args.reward_weights)
    set_scale(args, funcs)
    funcs = choose_test_score(funcs, rows, args.score_tests, args.fgo, executor)
    return Given(args, funcs, rows, read_eval_sets(eval_dataset))


def default_args(model: Any) -> StepCoderGRPOConfig:
    """Return the configuration of a trainer that got none. The folder is named after the model, as upstream's."""
    name = model if isinstance(model, str) else model.config.name_or_path
    return StepCoderGRPOConfig(f"{Path(name).name}-GRPO")


def refuse_unsupported(tools: Any, rollout_func: Any, environment_factory: Any) -> None:
    """Raise a `BadInputError` for arguments with which other text than the policy's would be in a completion."""
    fix = "Leave it out, or use TRL's `GRPOTrainer`."
    for name, value in (
        ("tools", tools),
        ("rollout_func", rollout_func),
        ("environment_factory", environment_factory),
    ):
        if value:
            raise BadInputError(
                f"`{name}` is not supported: a completion here is one answer whose program is run once. {fix}"
            )


def check_tokenizer(processing_class: Any) -> None:
    """Raise a `BadInputError` for the processor of a multimodal model, and for a tokenizer without an EOS token."""
    if isinstance(processing_class, ProcessorMixin):
        raise BadInputError(
            f"`processing_class` is a {type(processing_class).__name__}, but multimodal models are not supported. "
            "Use a model of text with its tokenizer."
        )
    check_end(processing_class)


def read_rows(dataset: Any, name: str) -> list[PromptRow]:
    """
    Read a dataset of problems, or of prompts as upstream's. Errors call it `name`.

    Raises:
        BadInputError: If it is missing or empty, or has images or tokens instead of prompts.
    """
    rows = as_rows(read_dataset(dataset, name), name)
    if rows[0].token_ids is not None:
        raise BadInputError(f"The rows of `{name}` have `input_ids` and no `prompt`. Pass text or messages.")
    if any({"image", "images"} & row.columns.keys() for row in rows):
        raise BadInputError(f"`{name}` has images, but multimodal models are not supported. Pass problems of text.")
    return rows


def read_eval_sets(dataset: Any) -> dict[str, list[PromptRow]]:
    """Return the rows of the evaluation sets by name. A single set has the name `""`."""
    sets = {} if dataset is None else named_sets(dataset)
    return {name: read_rows(rows, "eval_dataset") for name, rows in sets.items()}


def choose_rewards(rows: Sequence[PromptRow], reward_funcs: Any, reward_weights: Sequence[float] | None) -> list[Any]:
    """
    Return the reward functions. `None` means compiler feedback of the tests. Reward models stay, also by their names.

    Raises:
        BadInputError: If there is none for some row, a function needs a column that there is not, or the number of
            weights is wrong.
    """
    if reward_funcs is not None:
        given = reward_funcs if isinstance(reward_funcs, (list, tuple)) else [reward_funcs]
        if not given:
            raise BadInputError("`reward_funcs` is empty. Leave it out for compiler feedback of the tests.")
        if reward_weights is not None and len(reward_weights) != len(given):
            raise BadInputError(
                f"`reward_weights` has {len(reward_weights)} values, but there are {len(given)} reward functions. "
                f"Pass {len(given)}."
            )
        columns = {name for row in rows for name in row.columns}
        return [one if _is_reward_model(one) else _own_reward(named_reward(one), columns) for one in given]
    lacking = next((number for number, row in enumerate(rows) if row.tests is None), None)
    if lacking is not None:
        raise BadInputError(
            f"Row {lacking} of `train_dataset` has no `tests`, and there are no `reward_funcs` to score it. Add the "
            "column or pass reward functions."
        )
    return [unit_test_reward]


def _own_reward(func: Any, columns: set[str]) -> Any:
    """Return a function that TRL may call with all columns. Its errors name it. Those of this package stay."""
    return func if func in REWARDS.values() else guarded(takes_columns(func, columns))


def _is_reward_model(one: Any) -> bool:
    """Whether a reward function is a model, or names one."""
    return names_reward_model(one) if isinstance(one, str) else isinstance(one, torch.nn.Module)


def set_scale(args: StepCoderGRPOConfig, reward_funcs: Sequence[Any]) -> None:
    """Set `scale_rewards` where it is `None`: `"none"` with compiler feedback, otherwise upstream's `"group"`."""
    if args.scale_rewards is None:
        feedback = tuple(REWARDS.values())
        args.scale_rewards = "none" if any(one in feedback for one in reward_funcs) else "group"


class RowTable:
    """
    Rows that TRL shuffles and groups by their index: rows of any kind need not fit into the types of a dataset.

    Args:
        rows (`Sequence[PromptRow]`): Training set. Rows of evaluations come behind it.
    """

    def __init__(self, rows: Sequence[PromptRow]) -> None:
        self.rows = list(rows)

    def training_set(self) -> Dataset:
        """Return the indices of the training set, before rows are added."""
        return index_dataset(range(len(self.rows)))

    def add(
        self,
        rows: Sequence[PromptRow],
        build_query: Callable[[PromptRow, str], Query],
        limit: float,
        args: StepCoderGRPOConfig,
    ) -> Dataset:
        """
        Add the rows of an evaluation whose queries have at most `limit` tokens, and return their indices.

        Raises:
            BadInputError: If no row is left, or one is too long for vLLM.
        """
        usable = fitting_rows(rows, lambda row: longest_query(row, None, build_query), limit)
        if not usable:
            raise BadInputError("No row of `eval_dataset` is usable: every query is too long, see the warning.")
        _check_window(args, usable, None, build_query)
        first = len(self.rows)
        self.rows += usable
        return index_dataset(range(first, len(self.rows)))

    def add_sets(
        self,
        sets: Mapping[str, Sequence[PromptRow]],
        build_query: Callable[[PromptRow, str], Query],
        limit: float,
        args: StepCoderGRPOConfig,
    ) -> Dataset | dict[str, Dataset] | None:
        """Add evaluation sets as [`RowTable.add`]. Returns them in TRL's form: one, several by name, or `None`."""
        added = {name: self.add(rows, build_query, limit, args) for name, rows in sets.items()}
        return added.get("", added or None)

    def evaluation_set(
        self,
        dataset: Any,
        build_query: Callable[[PromptRow, str], Query],
        limit: float,
        args: StepCoderGRPOConfig,
    ) -> Any:
        """Return a dataset that `evaluate` got, in TRL's form. Rows that are new here are added."""
        if dataset is None or is_known(dataset):
            return dataset
        return self.add(read_rows(dataset, "eval_dataset"), build_query, limit, args)

    def replace_training_set(self, rows: Sequence[PromptRow]) -> None:
        """Replace the rows of the training set by as many others."""
        self.rows[: len(rows)] = rows

    def of(self, inputs: Sequence[Mapping[str, Any]]) -> list[PromptRow]:
        """Return the rows of a batch of TRL."""
        return [self.rows[one[ROW]] for one in inputs]

    @property
    def has_tests(self) -> bool:
        """Whether some row has tests."""
        return any(row.tests is not None for row in self.rows)


def problem_query(row: PromptRow, prefix: str, tokenizer: Any, args: StepCoderGRPOConfig) -> Query:
    """Build the query of a problem: its prompt, followed by the prefix or else the starter code."""
    template_kwargs = read_template_kwargs(args.chat_template_kwargs)
    return build_query(row.prompt, prefix or row.starter_code, tokenizer, template_kwargs, task_id=row.task_id)


def is_known(dataset: Any) -> bool:
    """Whether a dataset is one of a [`RowTable`], its name, or several sets."""
    return isinstance(dataset, (str, Mapping)) or (isinstance(dataset, Dataset) and dataset.column_names == [ROW])


def index_dataset(indices: Iterable[int]) -> Dataset:
    """Return a dataset of indices."""
    return Dataset.from_dict({ROW: list(indices)})


def longest_allowed(model: torch.nn.Module, args: StepCoderGRPOConfig) -> float:
    """Return the maximum number of tokens of a query."""
    return query_limit(model, args.max_prompt_length, args.max_completion_length or 0, "max_completion_length")


def check_sizes(
    training_set: TrainingSet, build_query: Callable[[PromptRow, str], Query], args: StepCoderGRPOConfig
) -> None:
    """
    Check the training set against the sizes of a run.

    Raises:
        BadInputError: If it has fewer problems than a round takes, so that there would be no batch, or one is too long
            for vLLM.
    """
    if not training_set.rows:
        raise BadInputError("No row of `train_dataset` is usable: every query is too long, see the warning.")
    num_rows, needed = len(training_set.rows), (args.generation_batch_size or 0) // args.num_generations
    if num_rows < needed:
        raise BadInputError(
            f"A round takes {needed} problems (`generation_batch_size` {args.generation_batch_size} completions, "
            f"`num_generations` {args.num_generations}), but only {num_rows} rows of `train_dataset` are usable. "
            "Raise `num_generations`, or lower `gradient_accumulation_steps` or `per_device_train_batch_size`."
        )
    _check_window(args, training_set.rows, training_set.curriculum, build_query)


def _check_window(
    args: StepCoderGRPOConfig,
    rows: Sequence[PromptRow],
    curriculum: Curriculum | None,
    build_query: Callable[[PromptRow, str], Query],
) -> None:
    """Raise a `BadInputError` if a query and its completion do not fit into the window of vLLM."""
    answer = args.max_completion_length or 0
    check_window(args, rows, lambda row: longest_query(row, curriculum, build_query), answer, "max_completion_length")


def logged_stages(rows: Sequence[PromptRow], curriculum: Curriculum | None) -> list[int]:
    """Return the stages that have a metric: all of the training set, none if stages are drawn by revealed share."""
    if curriculum is None or curriculum.config.mode not in ("paper", "mix"):
        return []
    return sorted({stage.stage for row in rows for stage in curriculum.stages(row.task_id)})
