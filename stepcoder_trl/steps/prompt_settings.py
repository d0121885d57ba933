"""
File beside a model that says how it was prompted, and which run it belongs to.

Every checkpoint and every final folder of `sft`, `ppo` and `grpo` has one:

    {"run_id": "3f...", "prompt_style": "chat", "chat_template_kwargs": null, "stop_token_ids": [2]}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepcoder_trl.data.prompts import DEEPSEEK_TEMPLATE
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import write_json
from stepcoder_trl.steps.queries import Prompt


RUN_FILE = "stepcoder_run.json"


@dataclass(frozen=True)
class PromptSettings:
    """
    Settings with which a model is trained and has to be evaluated.

    Attributes:
        prompt_style (`str` or `None`): `"plain"`, `"chat"` or `"deepseek"`. `None` for rows with `input_ids`.
        chat_template_kwargs (`Mapping[str, Any]` or `None`): Arguments of the chat template.
        stop_token_ids (`tuple[int, ...]`): Tokens that end a completion beside those that the model's files name.
    """

    prompt_style: str | None = "plain"
    chat_template_kwargs: Mapping[str, Any] | None = None
    stop_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunFile:
    """Content of the file: the id of the run, and the settings of its prompts."""

    run_id: str
    prompts: PromptSettings


def style_of(prompts: Iterable[Prompt], tokenizer: Any) -> str:
    """
    Return the prompt style of a training set: messages are those of `chat`, or of `deepseek` with its template.

    Only `plain` leaves text as it is, so one text among messages is enough. It leaves messages as they are, too.
    """
    prompts = list(prompts)
    if not prompts or any(isinstance(prompt, str) for prompt in prompts):
        return "plain"
    return "deepseek" if tokenizer.chat_template == DEEPSEEK_TEMPLATE else "chat"


def write_run_file(folder: str | os.PathLike[str], content: RunFile) -> None:
    """Write the file into the folder of a model."""
    write_json(Path(folder) / RUN_FILE, {"run_id": content.run_id, **asdict(content.prompts)})


def read_run_file(folder: str | os.PathLike[str]) -> RunFile | None:
    """
    Return what the file in a model's folder says, `None` without one.

    Raises:
        BadInputError: If it is not such a file.
    """
    path = Path(folder) / RUN_FILE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        stop_token_ids = tuple(int(one) for one in values["stop_token_ids"])
        prompts = PromptSettings(values["prompt_style"], values["chat_template_kwargs"], stop_token_ids)
        return RunFile(str(values["run_id"]), prompts)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{path}: cannot be read ({error!r}). Delete it, and pass `--prompt-style` to `evaluate`."
        ) from error
