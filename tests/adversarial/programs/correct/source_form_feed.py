# tests: {"type": "stdio", "inputs": ["3\n-200\n-429\n383\n", "1\n360\n", "5\n167\n-125\n127\n-199\n797\n"], "outputs": ["-246\n", "360\n", "767\n"]}
# expect: passed
# note: form feeds between sections and before indentation
# source: "import sys\n\f\nif True:\n\f    print(sum(map(int, sys.stdin.read().split()[1:])))\n"
