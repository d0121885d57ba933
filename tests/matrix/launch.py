"""Start `tests.matrix.worker` in every process: `python -m tests.matrix.launch FLAGS SETTINGS.json...`."""

from __future__ import annotations

import sys

from trl import TrlParser

from stepcoder_trl.cli.launch import LaunchArguments, launch_module


if __name__ == "__main__":
    launch, rest = TrlParser((LaunchArguments,)).parse_args_and_config(return_remaining_strings=True)
    sys.exit(launch_module("tests.matrix.worker", rest, launch))
