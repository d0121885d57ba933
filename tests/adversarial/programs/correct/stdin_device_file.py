# tests: {"type": "stdio", "inputs": ["3\n-803\n-254\n-485\n", "1\n-233\n", "5\n-708\n446\n589\n-28\n616\n"], "outputs": ["-1542\n", "-233\n", "915\n"]}
# expect: passed
# note: by name

print(sum(map(int, open("/dev/stdin").read().split()[1:])))
