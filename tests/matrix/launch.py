"""Start a worker module in every process: `python -m tests.matrix.launch MODULE FLAGS SETTINGS.json...`."""

from __future__ import annotations

import sys

from trl import TrlParser

from stepcoder_trl.cli.launch import LaunchArguments, launch_module


if __name__ == "__main__":
    module, *arguments = sys.argv[1:]
    launch, rest = TrlParser((LaunchArguments,)).parse_args_and_config(arguments, return_remaining_strings=True)
    sys.exit(launch_module(module, rest, launch))
