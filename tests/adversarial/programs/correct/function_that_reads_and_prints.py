# tests: {"type": "stdio", "inputs": ["3\n-521\n508\n519\n", "1\n383\n", "5\n-333\n953\n-332\n531\n-752\n"], "outputs": ["506\n", "383\n", "67\n"], "fn_name": "main"}
# expect: passed
# note: the program defines it, the test calls it

def main():
    import sys

    print(sum(map(int, sys.stdin.read().split()[1:])))
