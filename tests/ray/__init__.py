"""Tests with Ray itself, on this machine. `make test-ray` runs them in an environment of their own."""
