# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["f565qr7vk68s\n", "6f9udgh7qbtt\n"]}
# expect: failed|runtime_error
# note: the list of handlers is not to be had

import atexit

atexit.register(print, "late")
atexit._run_exitfuncs = atexit._clear = atexit._ncallbacks = None
print("wrong")
