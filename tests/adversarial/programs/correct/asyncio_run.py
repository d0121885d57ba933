# tests: {"type": "stdio", "inputs": ["3\n528\n817\n971\n", "1\n65\n", "5\n-32\n244\n-282\n905\n-967\n"], "outputs": ["2316\n", "65\n", "-132\n"]}
# expect: passed
# note: an event loop

import asyncio
import sys


async def add(words):
    await asyncio.sleep(0)
    return sum(map(int, words))


async def main():
    words = sys.stdin.read().split()[1:]
    parts = await asyncio.gather(add(words[::2]), add(words[1::2]))
    print(sum(parts))


asyncio.run(main())
