"""What is measured: scripts, and packages that run with `python -m benchmarks.NAME` from the checkout."""
