"""Where a model lies: in a folder, on the Hub, or on top of another model. Nothing of it is loaded."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import huggingface_hub
from huggingface_hub import constants

from stepcoder_trl.errors import BadInputError


_PATIENCE_S = 5.0  # seconds to connect to the Hub


def check_place(model: str) -> None:
    """Raise a `BadInputError` for a folder that is not there, and for a name if the Hub cannot be reached."""
    if os.path.isdir(model):
        if not any(Path(model, name).is_file() for name in ("config.json", "adapter_config.json")):
            raise BadInputError(
                f"The model {model!r} cannot be loaded: the folder holds no `config.json`. Name a folder that "
                "`save_pretrained` wrote."
            )
        return
    if os.path.exists(model):
        raise BadInputError(f"The model {model!r} cannot be loaded: it is a file. Name its folder.")
    if _is_path(model):
        raise BadInputError(f"The model {model!r} cannot be loaded: there is no such folder. Check the path.")
    is_cached = isinstance(huggingface_hub.try_to_load_from_cache(model, "config.json"), str)
    if is_cached or constants.HF_HUB_OFFLINE:
        return
    if reason := _unreachable():
        raise BadInputError(
            f"The model {model!r} cannot be loaded: there is no such folder, and {reason}. Check the path."
        )


def check_upload(token: str | None) -> None:
    """Raise a `BadInputError` if nothing can be uploaded: without a token, or if the Hub cannot be reached."""
    if token is None and huggingface_hub.get_token() is None:
        reason = "`push_to_hub` needs a token of the Hub, but nobody is logged in. Run `hf auth login`"
    elif constants.HF_HUB_OFFLINE:
        reason = "`push_to_hub` is given, but so is the environment variable HF_HUB_OFFLINE. Unset it"
    elif unreachable := _unreachable():
        reason = f"`push_to_hub` is given, but {unreachable}. Check the connection"
    else:
        return
    raise BadInputError(f"{reason}, or leave `push_to_hub` out.")


def _unreachable() -> str:
    """Return why the Hub cannot be reached, empty if it can. Behind a proxy only a request can tell."""
    if getproxies():
        return ""
    hub = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection(
            (hub.hostname, hub.port or (443 if hub.scheme == "https" else 80)), _PATIENCE_S
        ).close()
    except OSError as error:  # its libraries would try again for a minute, twice
        return f"the Hub, {hub.hostname}, cannot be reached ({error.strerror or error})"
    return ""


def _is_path(model: str) -> bool:
    """Return whether a text can only be a path: a name on the Hub is `owner/name`, or an old one without owner."""
    return model[:1] in (".", "/", "~") or "\\" in model or model.count("/") > 1


def tokenizer_source(model: str) -> str:
    """Return the folder or name of a model's tokenizer. An adapter saved without one has that of its base model."""
    settings = adapter_settings(model)
    if settings is None or Path(model, "tokenizer_config.json").is_file():
        return model
    return str(settings["base_model_name_or_path"])


def adapter_settings(model: str) -> dict[str, Any] | None:
    """Read the settings of a PEFT adapter. `None` for a model that is no adapter."""
    path = Path(model, "adapter_config.json")
    if not path.is_file():
        return None
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return settings
