# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["4kfg8jtu5bzj\n"]}
# expect: runtime_error
# note: a datagram with secrets

import socket

socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"secret", ("192.0.2.1", 53))
