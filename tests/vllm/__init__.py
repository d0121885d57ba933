"""Tests with a real vLLM on a CPU. `make test-vllm` runs them in an environment of their own."""
