# tests: {"type": "stdio", "inputs": ["3\n-515\n-190\n246\n", "1\n-767\n", "5\n-574\n-644\n423\n101\n420\n"], "outputs": ["-459\n", "-767\n", "-274\n"]}
# expect: passed
# note: a first line for the shell
# source: "#!/usr/bin/env python3\nimport sys\nprint(sum(map(int, sys.stdin.read().split()[1:])))\n"
