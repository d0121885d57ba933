# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["jhrax687386g\n"]}
# expect: runtime_error
# note: a connection

import socket

socket.create_connection(("127.0.0.1", 80), timeout=1)
