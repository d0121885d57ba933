"""The Dockerfile without Docker. `make test-dockerfile` runs it."""
