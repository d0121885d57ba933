"""`python -m stepcoder_trl`: the command line, for launchers that start modules."""

from stepcoder_trl.cli.main import main


main()
