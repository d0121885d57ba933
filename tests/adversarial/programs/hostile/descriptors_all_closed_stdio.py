# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["hxrmjbv7g75x\n", "2zjrhwxxus2e\n"]}
# expect: runtime_error|failed
# note: closes whatever is open, before the second test

import os

print("wrong", flush=True)
os.closerange(0, 65536)
