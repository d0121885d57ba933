# tests: {"type": "stdio", "inputs": ["3\n870\n340\n719\n", "1\n-567\n", "5\n396\n497\n705\n981\n731\n"], "outputs": ["1929\n", "-567\n", "3310\n"]}
# expect: passed
# note: backslashes at the ends of lines
# source: "import sys\nprint(sum(map(int, \\\n  sys.stdin.read()\\\n  .split()[1:])))"
