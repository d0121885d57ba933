"""Tables of options and metrics, and the help of every verb, in Markdown."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import operator
import os
from collections.abc import Callable, Mapping
from unittest import mock

import stepcoder_trl
import stepcoder_trl.executor
from docs.hooks.memory import memory_table
from stepcoder_trl import StepCoderGRPOConfig, StepCoderPPOConfig
from stepcoder_trl.cli.main import VERBS, main
from stepcoder_trl.trainer.metric_table import EVALUATION_METRICS, GRPO_METRICS, PPO_METRICS, metrics_table
from stepcoder_trl.trainer.shared_options import SharedOptions, options_table
from stepcoder_trl.trainer.vllm_options import VLLMOptions


HELP_WIDTH = "90"  # columns of the help texts, as many as the site shows beside its menus


def ppo_options() -> str:
    """Return the table of the options of PPO that are new or have another default than upstream's."""
    return options_table(StepCoderPPOConfig, list(StepCoderPPOConfig.__annotations__))


def shared_options() -> str:
    """Return the table of the options of curriculum, mask and executor, which both trainers have."""
    return options_table(StepCoderPPOConfig, [one.name for one in dataclasses.fields(SharedOptions)])


def vllm_options() -> str:
    """Return the table of the options of vLLM."""
    return options_table(StepCoderPPOConfig, list(VLLMOptions.__annotations__))


def grpo_options() -> str:
    """Return the table of the options of GRPO that are new or have another default than upstream's."""
    return options_table(StepCoderGRPOConfig, list(StepCoderGRPOConfig.__annotations__))


def verbs() -> str:
    """Return a section with the help of each verb of the command line."""
    return "\n".join(f"## {verb}\n\n{summary.capitalize()}.\n\n{_help(verb)}" for verb, (_, summary) in VERBS.items())


def _help(verb: str) -> str:
    """Return the help of a verb as a code block."""
    text = io.StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": HELP_WIDTH}), contextlib.redirect_stdout(text):
        try:
            main([verb, "--help"])
        except SystemExit as done:
            if done.code:
                raise RuntimeError(f"`stepcoder-trl {verb} --help` ended with {done.code}.") from done
    return f"```text\n{text.getvalue().strip()}\n```\n"


# Public names by section, and those of the executor that a backend of one's own needs.
API: Mapping[str, tuple[str, ...]] = {
    "Trainers": ("StepCoderPPOTrainer", "StepCoderPPOConfig", "StepCoderGRPOTrainer", "StepCoderGRPOConfig"),
    "Problems": ("load_problems", "Problem"),
    "Sandbox": ("CodeExecutor", "ExecutorConfig", "Execution", "Outcome"),
    "Other sandboxes": ("executor.RemoteExecutor", "executor.RemoteConfig", "executor.BaseBackend"),
    "Rewards and metrics": ("unit_test_reward", "pass_at_k"),
    "Curriculum": ("find_conditionals", "curriculum_starts", "Curriculum", "CurriculumConfig"),
    "Masks": ("extract_program", "executed_token_mask"),
    "Errors": ("BadInputError", "SandboxError", "IsolationError"),
}


def api() -> str:
    """Return the sections of the API, in the language of mkdocstrings: a line for each object."""
    sections = []
    for title, names in API.items():
        found = [operator.attrgetter(name)(stepcoder_trl) for name in names]
        lines = "\n\n".join(f"::: {one.__module__}.{one.__qualname__}" for one in found)
        sections.append(f"## {title}\n\n{lines}\n")
    return "\n".join(sections)


# NAME in a line `*Made by `make docs`: NAME*`, and what takes the place of that line.
PARTS: Mapping[str, Callable[[], str]] = {
    "ppo_options": ppo_options,
    "shared_options": shared_options,
    "vllm_options": vllm_options,
    "grpo_options": grpo_options,
    "ppo_metrics": lambda: metrics_table(PPO_METRICS),
    "grpo_metrics": lambda: metrics_table(GRPO_METRICS),
    "evaluation_metrics": lambda: metrics_table(EVALUATION_METRICS),
    "verbs": verbs,
    "memory": memory_table,
    "api": api,
}
