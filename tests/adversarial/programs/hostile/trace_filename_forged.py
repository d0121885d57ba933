# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [317829843, 464351750]}
# expect: failed
# note: compiles code under the harness's file names

import sys

source = "\n" * 500 + "x = 1\n" * 50
exec(compile(source, __file__ if "__file__" in globals() else sys._getframe().f_code.co_filename, "exec"))


def solve(n):
    return 0
