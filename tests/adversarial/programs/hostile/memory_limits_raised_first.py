# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [827095680]}
# expect: memory_exceeded
# note: lifts the limits, or so it believes

import resource

for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_STACK, resource.RLIMIT_CPU):
    resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def solve(n):
    return len(bytearray(2**31))
