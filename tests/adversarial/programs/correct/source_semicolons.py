# tests: {"type": "stdio", "inputs": ["3\n997\n-768\n93\n", "1\n-738\n", "5\n596\n712\n726\n-242\n713\n"], "outputs": ["322\n", "-738\n", "2505\n"]}
# expect: passed
# note: several statements in a line
# source: "import sys; n = 0; \nfor w in sys.stdin.read().split()[1:]: n += int(w); pass\nprint(n);"
