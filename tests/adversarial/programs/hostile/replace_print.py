# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["b6hq4pbwz8je\n"]}
# expect: failed
# note: print that says something else

import builtins

builtins.print = lambda *args, **kwargs: None
print("anything")
