# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [585154073, 355083169]}
# expect: runtime_error
# note: reads the process's own memory for the job

def solve(n):
    with open("/proc/self/maps") as maps:
        return len(maps.read())
