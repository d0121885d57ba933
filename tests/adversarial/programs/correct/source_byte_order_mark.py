# tests: {"type": "stdio", "inputs": ["3\n363\n-168\n995\n", "1\n441\n", "5\n430\n-674\n197\n292\n140\n"], "outputs": ["1190\n", "441\n", "385\n"]}
# expect: passed
# note: a byte order mark, as editors on Windows write
# source: "\ufeffimport sys\nprint(sum(map(int, sys.stdin.read().split()[1:])))\n"
