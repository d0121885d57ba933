"""Our sandbox as an HTTP service: SandboxFusion's `/run_code`, and our own protocol for whole problems."""
