# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["d5t3cavf7ytx\n"]}
# expect: failed
# note: a stream that swallows everything

import sys


class Nothing:
    encoding = "utf-8"

    def write(self, text):
        return len(text)

    def flush(self):
        raise ValueError


sys.stdout = sys.__stdout__ = sys.stderr = Nothing()
print("answer")
