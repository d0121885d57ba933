"""Facts about a run, from which its model card and its page are made. They stand in `card.json` beside the model."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import parse_json, write_json
from stepcoder_trl.reports.run_history import FACTS_FILE


METHODS = {"ppo": "StepCoder PPO", "grpo": "StepCoder on GRPO", "sft": "Supervised fine-tuning"}
PASS_AT = re.compile(r"eval_(?:(?P<name>.+)_)?pass@(?P<k>\d+)")

_NAMES = {"training_data_name", "eval_data_name"}  # filled in by training, and shown beside what they name
# Settings that are not published: they may hold local paths, names of runs or secrets.
_PRIVATE = {
    "deepspeed",
    "hub_token",
    "logging_dir",
    "output_dir",
    "push_to_hub_token",
    "resume_from_checkpoint",
    "reward_model_path",
    "run_name",
    "sft_model_path",
    "vllm_server_base_url",
    "vllm_server_host",
}


@dataclass(frozen=True)
class PassRate:
    """One measured pass@k: the mean over the problems of an evaluation set, in [0, 1]."""

    data: str  # name of the set
    k: int
    value: float
    sampling: str = ""  # how the completions were sampled


@dataclass(frozen=True)
class QueryForm:
    """Text around a requirement, as in training: `before`, the requirement, `after`, and the starter code."""

    before: str = ""
    after: str = ""
    special_tokens: bool = True  # whether the tokenizer adds its special tokens

    @property
    def is_chat(self) -> bool:
        """Return whether the requirement stands in a chat template, and the answer in a code fence."""
        return not self.special_tokens


@dataclass(frozen=True)
class RunFacts:
    """Contents of a model card. A base model or training set named `owner/name` is one on the Hub."""

    model_name: str
    base_model: str | None
    adapter: bool  # whether the folder holds an adapter instead of a full model
    training_data: str | None
    training_data_license: str | None
    num_problems: int
    update: int  # number of updates done
    num_updates: int  # number of updates planned
    episodes: int  # number of completions so far, 0 without any
    num_processes: int
    pass_rates: Sequence[PassRate]  # of the weights that the card describes
    history: Sequence[Mapping[str, float]]  # logged metrics, with `step`
    settings: Mapping[str, Any]  # JSON values
    defaults: Mapping[str, Any]
    versions: Mapping[str, str]
    method: str = "ppo"  # a key of `METHODS`
    rewards: Sequence[tuple[str, float]] = ()  # name and weight of each reward function
    query: QueryForm = QueryForm()
    backend: str | None = None  # name of the executor, if programs were run
    layers: Mapping[str, bool] = field(default_factory=dict)  # of the sandbox, `True` where active; empty if unknown
    curve: bool = False  # whether the folder holds a plot of the learning curve
    tags: Sequence[str] = ()


def measured_pass_rates(
    history: Sequence[Mapping[str, Any]], update: int, data: str | None, sampling: str = ""
) -> list[PassRate]:
    """
    Return every pass@k of the last evaluation at an update. It is empty if the weights were not evaluated.

    A pass@k of `None`, for which no program could be run, is left out.

    `data` is the name of the evaluation set for metrics that do not name their own set.
    """
    rates: dict[tuple[str, int], PassRate] = {}
    for entry in history:
        for name, value in entry.items():
            match = PASS_AT.fullmatch(name)
            if match and value is not None and entry.get("step") == update:
                evaluated = match["name"] or data or "evaluation set"
                rates[evaluated, int(match["k"])] = PassRate(evaluated, int(match["k"]), value, sampling)
    return list(rates.values())


def sampling_text(number: int, temperature: float, top_p: float, length: int) -> str:
    """Return how completions were sampled, in words."""
    samples = f"{number} sample{'s' if number != 1 else ''} per problem"
    drawn = "greedy" if temperature == 0 else f"temperature {temperature:g}, top-p {top_p:g}"
    return f"{samples}, {drawn}, at most {length} tokens"


def public_settings(facts: RunFacts) -> dict[str, Any]:
    """Return the settings that may be published."""
    return {name: value for name, value in facts.settings.items() if name not in _PRIVATE}


def changed_settings(facts: RunFacts) -> list[tuple[str, Any, Any]]:
    """Return name, value and default of each published setting that differs, but not the names of data sets."""
    defaults = facts.defaults
    known = ((name, value) for name, value in public_settings(facts).items() if name in defaults.keys() - _NAMES)
    return [(name, value, defaults[name]) for name, value in known if not _equal(value, defaults[name])]


def _equal(value: Any, default: Any) -> bool:
    """Say whether a setting has its default. Nothing is nothing: an empty list is no change of `None`."""
    if isinstance(value, (bool, int, float)) and isinstance(default, (bool, int, float)):
        return value == default
    return bool(value == default or not (value or default))


def write_facts(facts: RunFacts, folder: str | os.PathLike[str]) -> None:
    """Write `card.json` into the folder of a model, without private settings."""
    public = dataclasses.replace(facts, settings=public_settings(facts))
    write_json(Path(folder) / FACTS_FILE, json.loads(json.dumps(dataclasses.asdict(public), default=str)))


def read_facts(folder: str | os.PathLike[str]) -> RunFacts | None:
    """
    Read `card.json` of a model folder. `None` if there is none.

    Raises:
        BadInputError: If the file is damaged.
    """
    path = Path(folder) / FACTS_FILE
    if not path.is_file():
        return None
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        known = {one.name for one in dataclasses.fields(RunFacts)}
        values = {name: value for name, value in values.items() if name in known}
        values["pass_rates"] = [PassRate(**rate) for rate in values["pass_rates"]]
        values["rewards"] = [(str(name), float(weight)) for name, weight in values["rewards"]]
        return RunFacts(**{**values, "query": QueryForm(**values["query"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInputError(
            f"{path}: is not the file that training wrote ({type(error).__name__}: {error}). Restore it, or delete it."
        ) from None


def with_pass_rates(facts: RunFacts, rates: Sequence[PassRate]) -> RunFacts:
    """Return facts with more measured pass rates. One of the same set, `k` and sampling is replaced."""
    measured = {(rate.data, rate.k, rate.sampling): rate for rate in (*facts.pass_rates, *rates)}
    return dataclasses.replace(facts, pass_rates=list(measured.values()))
