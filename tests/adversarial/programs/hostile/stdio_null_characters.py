# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["14\n", "16\n"]}
# expect: failed
# note: the right answer with something around it

print("\0" + str(int(input()) * 2) + "\0")
