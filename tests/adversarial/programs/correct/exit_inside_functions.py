# tests: {"type": "stdio", "inputs": ["3\n684\n308\n-593\n", "1\n141\n", "5\n138\n-438\n-507\n330\n304\n"], "outputs": ["399\n", "141\n", "-173\n"]}
# expect: passed
# note: from deep inside, past an except

import sys


def main():
    try:
        print(sum(map(int, sys.stdin.read().split()[1:])))
        sys.exit(0)
    except Exception:
        print("never")


main()
