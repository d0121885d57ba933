# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["22zfk8eb4nuw\n"]}
# expect: runtime_error
# note: a file where others look

with open("/tmp/planted.py", "w") as file:
    file.write("import os")
