# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [{"key": 590676774}, {"key": 500636481}]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: contains itself, twice

def solve(n):
    value = {}
    value["key"] = value
    value["other"] = [value]
    return value
