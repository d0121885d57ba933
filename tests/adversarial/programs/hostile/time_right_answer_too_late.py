# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["14\n", "16\n"]}
# expect: timeout
# timeout_s: 1
# note: prints the right answer, then never ends

print(int(input()) * 2, flush=True)
while True:
    pass
