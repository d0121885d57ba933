# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["nf6bnba5dhky\n"]}
# expect: runtime_error|timeout
# timeout_s: 3
# note: fills the disk with one file

with open("filler", "wb") as file:
    while True:
        file.write(bytes(2**20))
