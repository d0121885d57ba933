# tests: {"type": "stdio", "inputs": ["3\n-259\n-844\n396\n", "1\n235\n", "5\n-576\n-572\n-111\n-861\n971\n"], "outputs": ["-707\n", "235\n", "-1149\n"]}
# expect: passed
# note: settings of the machine

import datetime
import locale
import sys
import time

locale.setlocale(locale.LC_ALL, "")
assert time.process_time() >= 0 and time.perf_counter() > 0 and time.strftime("%Y") > "2000"
assert datetime.datetime.now().astimezone().tzinfo is not None
print(sum(map(int, sys.stdin.read().split()[1:])))
