# tests: {"type": "stdio", "inputs": ["3\n-629\n513\n740\n", "1\n-476\n", "5\n836\n872\n199\n628\n183\n"], "outputs": ["624\n", "-476\n", "2718\n"]}
# expect: passed
# note: a cookie that the text does not follow
# source: "# -*- coding: latin-1 -*-\ntext = \"\u00e9\u20ac\"\nassert len(text) == 2\nimport sys\nprint(sum(map(int, sys.stdin.read().split()[1:])))\n"
