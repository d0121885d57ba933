# tests: {"type": "stdio", "inputs": ["3\n-533\n-770\n154\n", "1\n-662\n", "5\n-860\n-583\n211\n907\n-735\n"], "outputs": ["-1149\n", "-662\n", "-1060\n"]}
# expect: passed
# note: asks for a larger stack

import resource
import sys

resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(sum(map(int, sys.stdin.read().split()[1:])))
