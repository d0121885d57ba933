"""Run the command line as `python -m stepcoder_trl`, for launchers that start modules."""

from stepcoder_trl.cli.main import main


main()
