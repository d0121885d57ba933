# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [[855635899, 978118193, 214917660], [609359576, 675106479, 243776716]]}
# expect: failed|runtime_error
# note: contains itself

def solve(n):
    value = [1, 2]
    value.append(value)
    return value
