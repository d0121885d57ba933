# tests: {"type": "stdio", "inputs": ["3\n593\n-272\n752\n", "1\n307\n", "5\n491\n-915\n692\n431\n-45\n"], "outputs": ["1073\n", "307\n", "654\n"]}
# expect: passed
# note: names that are not ASCII
# source: "import sys\nsum\u0301e = \u03c0 = sum(map(int, sys.stdin.read().split()[1:]))\nprint(\u03c0)\n"
