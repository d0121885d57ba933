# tests: {"type": "stdio", "inputs": ["3\n88\n-503\n-832\n", "1\n456\n", "5\n-223\n721\n-706\n-126\n485\n"], "outputs": ["-1247\n", "456\n", "151\n"]}
# expect: passed
# note: indented by tabs
# source: "import sys\nif True:\n\tif True:\n\t\tprint(sum(map(int, sys.stdin.read().split()[1:])))\n"
