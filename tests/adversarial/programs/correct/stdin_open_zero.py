# tests: {"type": "stdio", "inputs": ["3\n-577\n-433\n-358\n", "1\n243\n", "5\n378\n616\n-621\n-434\n232\n"], "outputs": ["-1368\n", "243\n", "171\n"]}
# expect: passed
# note: the descriptor by number

print(sum(map(int, open(0).read().split()[1:])))
