"""Flag `--reward` of `stepcoder-trl ppo`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stepcoder_trl.cli.main import main
from stepcoder_trl.rewards import REWARDS


def test_help_and_docs_list_all_rewards(capsys):
    docs = (Path(__file__).parents[3] / "docs" / "trainer.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Rewards\n(.*?)^## ", docs, re.MULTILINE | re.DOTALL)

    with pytest.raises(SystemExit):
        main(["ppo", "--help-all"])

    help_text = capsys.readouterr().out
    (choices,) = set(re.findall(r"--reward \{(.*?)\}", help_text))
    assert choices.split(",") == list(REWARDS)
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(REWARDS)
    assert all(f"`{name}`: Score by" in " ".join(help_text.split()) for name in REWARDS)


@pytest.mark.parametrize("kind", ["flag", "yaml"])
def test_error_for_unknown_reward_lists_names(kind, tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text("reward: rtlf\n")
    flags = ["--problems", "p.jsonl", "--output_dir", str(tmp_path / "run"), "--use_cpu", "--bf16", "false"]
    more = {"flag": ["--reward", "rtlf"], "yaml": ["--config", str(config)]}[kind]

    with pytest.raises(SystemExit) as stop:
        main(["ppo", *flags, *more])

    *_, line = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert "'rtlf'" in line
    assert all(name in line for name in REWARDS)
