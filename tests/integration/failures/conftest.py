"""Scripts, and the check that nothing is left behind."""

from __future__ import annotations

from tests.integration.lifetime.conftest import nothing_left, script, start


__all__ = ["nothing_left", "script", "start"]
