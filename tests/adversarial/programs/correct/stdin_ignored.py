# tests: {"type": "stdio", "inputs": ["", " \n"], "outputs": ["ready\n", "ready\n"]}
# expect: passed
# note: needs no input

print("ready")
