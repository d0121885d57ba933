# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["apusddyrgyas\n"]}
# expect: failed|timeout
# timeout_s: 0.5
# note: an event loop in a thread

import asyncio
import threading

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever).start()
print("wrong")
