# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["em4q9yf486t5\n"]}
# expect: runtime_error|timeout
# timeout_s: 3
# note: fills the disk with many files

number = 0
while True:
    with open(f"filler{number}", "wb") as file:
        file.write(bytes(2**22))
    number += 1
