"""Two updates of each trainer, against two served hosts and in this process: the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.same_numbers import assert_same_numbers, grpo, ppo, two_updates
from tests.unit.executor.serve.conftest import Served


pytestmark = pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[str]]:
    services = [Served("--workers", "1") for _ in range(2)]
    yield [service.url for service in services]
    for service in services:
        service.stop()


@pytest.mark.parametrize("make", [ppo, grpo])
def test_training_against_served_hosts_gives_the_same_numbers(hosts, make, tokenizer, make_policy, problems, tmp_path):
    trainers = []
    for place, chosen in (("local", {}), ("remote", {"executor_urls": hosts})):
        options = two_updates(tmp_path / place, executor=place, **chosen)
        trainers.append(make(tokenizer, make_policy(), problems, options))
        trainers[-1].train()

    assert_same_numbers(*trainers)
