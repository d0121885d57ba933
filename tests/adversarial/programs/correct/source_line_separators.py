# tests: {"type": "stdio", "inputs": ["3\n339\n-735\n339\n", "1\n-963\n", "5\n-782\n-750\n-334\n423\n-884\n"], "outputs": ["-57\n", "-963\n", "-2327\n"]}
# expect: passed
# note: characters that str.splitlines takes for ends of lines, and Python does not
# source: "import sys\ntext = \"a\u2028b\u0085c\u001cd\"\nassert len(text.splitlines()) == 4\nprint(sum(map(int, sys.stdin.read().split()[1:])))\n"
