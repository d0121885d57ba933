# tests: {"type": "stdio", "inputs": ["3\n724\n-700\n-846\n", "1\n665\n", "5\n-177\n30\n-544\n259\n689\n"], "outputs": ["-822\n", "665\n", "257\n"]}
# expect: passed
# note: if __name__ == "__main__"

import sys


def main():
    print(sum(map(int, sys.stdin.read().split()[1:])))


if __name__ == "__main__":
    main()
