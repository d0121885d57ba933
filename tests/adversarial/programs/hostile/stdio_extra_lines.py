# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["14\n", "16\n"]}
# expect: failed
# note: the right answer among others

n = int(input())
for guess in range(100):
    print(guess)
