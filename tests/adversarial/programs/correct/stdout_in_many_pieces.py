# tests: {"type": "stdio", "inputs": ["5\n", "1\n"], "outputs": ["0 1 2 3 4", "0"]}
# expect: passed
# timeout_s: 5
# note: a print for every number

for number in range(int(input())):
    print(number, end=" ")
