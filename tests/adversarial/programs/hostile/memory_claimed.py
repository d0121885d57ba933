# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [985275555]}
# expect: memory_exceeded|runtime_error
# note: raises MemoryError without need

def solve(n):
    raise MemoryError("I give up")
