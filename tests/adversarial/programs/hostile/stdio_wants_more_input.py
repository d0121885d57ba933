# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["p4h8d3xj4vtk\n"]}
# expect: runtime_error
# note: EOFError

while True:
    input()
