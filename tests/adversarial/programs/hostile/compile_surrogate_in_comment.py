# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [142182112, 203307775]}
# expect: compile_error
# note: text that UTF-8 cannot encode, where it does no harm
# source: "# \udcff\ndef solve(n):\n    return n\n"
