# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["tf8q68cad3da\n", "uh68w7v4w68p\n"]}
# expect: failed|runtime_error
# note: input and print replaced for the tests to come

import builtins

builtins.input = lambda *args: "0"
builtins.print = lambda *args, **kwargs: None
builtins.int = None
