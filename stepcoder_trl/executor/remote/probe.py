"""Question to each host, before any work, whether it is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.remote.client import TemporaryFailure, is_busy
from stepcoder_trl.executor.remote.config import RemoteConfig
from stepcoder_trl.executor.remote.service import RemoteService


def refusals(config: RemoteConfig) -> dict[str, str]:
    """Ask all addresses at the same time. Return for each why it cannot be used; empty if it can, or is busy."""
    with ThreadPoolExecutor(len(config.urls)) as pool:
        return dict(zip(config.urls, pool.map(lambda url: _refusal(url, config), config.urls), strict=True))


def _refusal(url: str, config: RemoteConfig) -> str:
    service = RemoteService(url, config)
    try:
        service.connect()
    except (TemporaryFailure, SandboxError) as error:
        return "" if is_busy(error) else str(error).removeprefix(url).rstrip(".")
    finally:
        service.close()
    return ""
