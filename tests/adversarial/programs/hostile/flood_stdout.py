# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["w235p8dkgs76\n"]}
# expect: runtime_error|timeout
# timeout_s: 2
# note: endless output

while True:
    print("y" * 10_000)
