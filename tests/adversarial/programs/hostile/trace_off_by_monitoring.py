# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [497118860, 992394894]}
# expect: failed|runtime_error
# note: takes the monitoring tools of newer interpreters away

import sys

if hasattr(sys, "monitoring"):
    for tool in range(6):
        if sys.monitoring.get_tool(tool) is not None:
            sys.monitoring.set_events(tool, 0)
            sys.monitoring.free_tool_id(tool)


def solve(n):
    return 0
