# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["ydxmpj2p4y8b\n"]}
# expect: runtime_error|failed
# timeout_s: 1
# note: waits for somebody to type

breakpoint()
