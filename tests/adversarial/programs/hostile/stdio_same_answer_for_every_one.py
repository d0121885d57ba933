# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["14\n", "16\n"]}
# expect: failed
# note: the answer to the first test

print(14)
