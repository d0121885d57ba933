"""Logs the layers of isolation in force, and makes the error for a fork server that did not start."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from stepcoder_trl.errors import IsolationError, SandboxError
from stepcoder_trl.executor.wire.messages import Infrastructure, Refusal
from stepcoder_trl.executor.wire.system import is_portable


logger = logging.getLogger("stepcoder_trl.executor")

_announced: dict[tuple[str, str], object] = {}


def announce(layers: Mapping[str, bool], missing: Mapping[str, str], isolation: str, where: str = "") -> None:
    """
    Log the layers in force, once per process and place. `where` is the address of a remote sandbox.

    Missing layers are a warning, and so is `isolation="none"`.
    """
    own_mark = object()
    # Atomic without a lock, which a process that is forked meanwhile would inherit as held.
    if _announced.setdefault((isolation, where), own_mark) is not own_mark:
        return
    place = f" at {where}" if where else ""
    if not where and is_portable():
        place = f" for {sys.platform}, a subprocess per program"
    in_force = ", ".join(layer for layer, there in layers.items() if there) or "none"
    lacking = "; ".join(f"{layer}, against {stops}" for layer, stops in missing.items())
    if isolation == "none":
        text = f"isolation is off (asked for); in force: {in_force}. Programs can do all that you can."
    elif missing:
        text = f"layers in force: {in_force}. Missing: {lacking}. docs/sandbox.md says what to do about it."
    else:
        text = f"layers in force: {in_force}."
    logger.log(logging.WARNING if isolation == "none" or missing else logging.INFO, "Sandbox%s: %s", place, text)


def start_failure(greeting: Infrastructure | Refusal) -> SandboxError:
    """Return the error for a fork server that did not start, and sent this message instead of a greeting."""
    if "refused" not in greeting:
        return SandboxError(f"A sandbox worker could not start: {greeting['infrastructure']}")
    lacking = "".join(f" `{layer}`, against {description}." for layer, description in greeting["refused"].items())
    return IsolationError(f'`isolation` is "strict", but layers are missing.{lacking} Or set `isolation` to "auto".')
