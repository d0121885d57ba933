# tests: {"type": "stdio", "inputs": ["3\n-594\n375\n843\n", "1\n-10\n", "5\n702\n743\n-449\n-283\n200\n"], "outputs": ["624\n", "-10\n", "913\n"]}
# expect: passed
# note: a module that looks at sys.argv

import fileinput

lines = list(fileinput.input())
print(sum(map(int, lines[1:])))
