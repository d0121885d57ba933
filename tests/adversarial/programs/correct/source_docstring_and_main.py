# tests: {"type": "stdio", "inputs": ["3\n-725\n887\n-286\n", "1\n-806\n", "5\n528\n-508\n-269\n-305\n494\n"], "outputs": ["-124\n", "-806\n", "-60\n"]}
# expect: passed
# note: a docstring and a future import come first
# source: "\"\"\"Adds numbers.\"\"\"\nfrom __future__ import annotations\nimport sys\nprint(sum(map(int, sys.stdin.read().split()[1:])))\n"
