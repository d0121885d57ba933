# tests: {"type": "stdio", "inputs": ["3\n-239\n-596\n328\n", "1\n645\n", "5\n248\n801\n182\n637\n912\n"], "outputs": ["-507\n", "645\n", "2780\n"]}
# expect: passed
# note: every kind of line end, none at the end
# source: "import sys\r\nif True:\r    x = 1\nprint(sum(map(int, sys.stdin.read().split()[1:])))"
