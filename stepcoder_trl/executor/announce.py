"""Logs the layers of isolation in force, and makes the error for a fork server that did not start."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from typing import Any

from stepcoder_trl.errors import IsolationError, SandboxError
from stepcoder_trl.executor.wire.system import is_portable


logger = logging.getLogger("stepcoder_trl.executor")

_announced: set[tuple[str, str]] = set()
_lock = threading.Lock()


def announce(layers: Mapping[str, bool], missing: Mapping[str, str], isolation: str, where: str = "") -> None:
    """
    Log the layers in force, once per process and place.

    Args:
        layers (`Mapping[str, bool]`): Whether each layer is in force.
        missing (`Mapping[str, str]`): What each missing layer would have stopped, and why it is missing.
        isolation (`str`): Isolation setting. `"none"` is logged as a warning, and so are missing layers otherwise.
        where (`str`): Address of a remote sandbox.
    """
    with _lock:
        if (isolation, where) in _announced:
            return
        _announced.add((isolation, where))
    place = f" at {where}" if where else ""
    if not where and is_portable():
        place = f" for {sys.platform}, a subprocess per program"
    in_force = ", ".join(layer for layer, there in layers.items() if there) or "none"
    if isolation == "none":
        logger.warning(
            "Sandbox%s: isolation is off (asked for); in force: %s. Programs can do all that you can.", place, in_force
        )
    elif missing:
        lacking = "; ".join(f"{layer}, against {stops}" for layer, stops in missing.items())
        logger.warning(
            "Sandbox%s: layers in force: %s. Missing: %s. docs/sandbox.md says what to do about it.",
            place,
            in_force,
            lacking,
        )
    else:
        logger.info("Sandbox%s: layers in force: %s.", place, in_force)


def start_failure(greeting: Mapping[str, Any]) -> SandboxError:
    """
    Error for a fork server that did not start.

    Args:
        greeting (`Mapping[str, Any]`): First message of the server: the missing layers, or the failure.

    Returns:
        `SandboxError`: An `IsolationError` that names each missing layer and the fix, if layers are missing.
    """
    if "refused" not in greeting:
        return SandboxError(f"A sandbox worker could not start: {greeting['infrastructure']}")
    lacking = "".join(f" `{layer}`, against {description}." for layer, description in greeting["refused"].items())
    return IsolationError(f'`isolation` is "strict", but layers are missing.{lacking} Or set `isolation` to "auto".')
