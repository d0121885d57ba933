# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["9a2pzx43dykt\n"]}
# expect: runtime_error
# note: files in memory outlive the process

with open("/dev/shm/filler", "wb") as file:
    while True:
        file.write(bytes(2**20))
