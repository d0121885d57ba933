"""Beginning of a program that sends messages of its own on every descriptor."""

import json
import os
import signal
import struct


def send(message):
    data = json.dumps(message).encode()
    for descriptor in range(3, 200):
        try:
            os.write(descriptor, struct.pack("<I", len(data)) + data)
        except OSError:
            pass


def end():
    os.kill(os.getpid(), signal.SIGTERM)
