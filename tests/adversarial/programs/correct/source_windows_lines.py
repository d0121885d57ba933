# tests: {"type": "stdio", "inputs": ["3\n-283\n-669\n575\n", "1\n-169\n", "5\n135\n-759\n-732\n-288\n-450\n"], "outputs": ["-377\n", "-169\n", "-2094\n"]}
# expect: passed
# note: lines end as on Windows
# source: "import sys\r\nprint(sum(map(int, sys.stdin.read().split()[1:])))\r\n"
