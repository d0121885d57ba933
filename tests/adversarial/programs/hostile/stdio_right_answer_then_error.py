# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["14\n", "16\n"]}
# expect: runtime_error
# note: the answer does not excuse it

print(int(input()) * 2, flush=True)
raise ValueError
