# tests: {"type": "stdio", "inputs": ["3\n144\n632\n631\n", "1\n789\n", "5\n-489\n-690\n629\n-334\n596\n"], "outputs": ["1407\n", "789\n", "-288\n"]}
# expect: passed
# note: lines end as on old Macs
# source: "import sys\rprint(sum(map(int, sys.stdin.read().split()[1:])))\r"
