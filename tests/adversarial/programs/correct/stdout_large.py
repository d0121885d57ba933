# tests: {"type": "stdio", "inputs": ["500000\n"], "outputs": []}
# expect: passed
# timeout_s: 5
# note: five megabytes
# outputs_expression: ["\n".join(str(number % 10) * 9 for number in range(500000))]

count = int(input())
print("\n".join(str(number % 10) * 9 for number in range(count)))
