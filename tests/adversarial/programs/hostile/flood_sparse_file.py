# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["cequ6jrzzuxz\n"]}
# expect: runtime_error
# note: a petabyte of nothing

with open("sparse", "wb") as file:
    file.truncate(2**50)
