# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["u2wpwzkxtpp9\n"]}
# expect: runtime_error
# note: a pair of sockets that can send elsewhere

import socket

left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
left.sendto(b"READY=1", "/run/systemd/notify")
