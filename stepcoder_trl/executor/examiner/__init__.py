"""Trusted process that runs `check(candidate)` and asks the program's process for answers."""
