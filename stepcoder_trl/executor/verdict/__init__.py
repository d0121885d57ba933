"""Caller's side of a verdict: tests, comparison, splitting of asserts. A program never sees it."""
