# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [117788906, 175994957]}
# expect: runtime_error
# note: is not a compile error of the program

exec("def f(:")
