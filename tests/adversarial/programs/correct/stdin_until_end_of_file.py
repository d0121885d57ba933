# tests: {"type": "stdio", "inputs": ["3\n835\n227\n-56\n", "1\n-242\n", "5\n857\n-490\n684\n-756\n54\n"], "outputs": ["1006\n", "-242\n", "349\n"]}
# expect: passed
# note: EOFError is how it learns of the end

total, first = 0, True
while True:
    try:
        line = input()
    except EOFError:
        break
    total += 0 if first else int(line)
    first = False
print(total)
