# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [300175571, 164292123]}
# expect: failed|runtime_error
# note: globals named like the harness's

_exit = _write = _exec = _eval = _compile = report = task = job = lambda *args, **kwargs: None
__name__ = "stepcoder_trl.executor.child"
__builtins__ = {}


def solve(n):
    return 0
