# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["tausggg929xw\n"]}
# expect: runtime_error
# note: a question to a name server

import socket

print(socket.gethostbyname("example.org"))
