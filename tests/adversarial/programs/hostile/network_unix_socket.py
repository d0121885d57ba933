# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["bxvb6mxy3rsr\n"]}
# expect: runtime_error
# note: a service on this machine

import socket

with socket.socket(socket.AF_UNIX) as client:
    client.connect("/var/run/docker.sock")
