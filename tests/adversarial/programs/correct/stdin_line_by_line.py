# tests: {"type": "stdio", "inputs": ["3\n878\n-459\n145\n", "1\n625\n", "5\n239\n272\n984\n574\n956\n"], "outputs": ["564\n", "625\n", "3025\n"]}
# expect: passed
# note: input() and print()

count = int(input())
print(sum(int(input()) for _ in range(count)))
