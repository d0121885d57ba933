# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["y9gqzxgg2wj9\n"]}
# expect: runtime_error
# note: the classic

print(open("/etc/passwd").read())
