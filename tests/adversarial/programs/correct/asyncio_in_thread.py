# tests: {"type": "stdio", "inputs": ["3\n-860\n-977\n382\n", "1\n759\n", "5\n322\n-574\n-457\n-114\n-843\n"], "outputs": ["-1455\n", "759\n", "-1666\n"]}
# expect: passed
# note: run_in_executor and to_thread

import asyncio
import sys


async def main():
    text = await asyncio.to_thread(sys.stdin.read)
    print(sum(map(int, text.split()[1:])))


asyncio.run(main())
