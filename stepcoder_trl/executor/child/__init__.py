"""Inside the program's process: run, trace, report."""
