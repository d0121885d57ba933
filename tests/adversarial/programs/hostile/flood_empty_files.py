# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["fst45z9dq4kp\n"]}
# expect: failed|timeout|runtime_error
# timeout_s: 3
# note: names, not bytes

for number in range(20_000):
    open(f"empty{number}", "w").close()
print("wrong")
