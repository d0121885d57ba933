# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["u5w3nmbm99tq\n", "z2r983x474gu\n"]}
# expect: failed|runtime_error
# note: the classes that streams are made of

import io

io.TextIOWrapper = io.BufferedWriter = io.BufferedReader = io.FileIO = io.StringIO = None
print("wrong")
