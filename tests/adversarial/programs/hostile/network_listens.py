# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["z64qzevtn68p\n"]}
# expect: runtime_error
# note: waits for visitors

import socket

socket.create_server(("127.0.0.1", 0)).accept()
