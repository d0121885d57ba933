# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["a3dx8jua8mcg\n", "ven2agdap6md\n"]}
# expect: failed|runtime_error
# note: finders that answer for every module

import sys


class Finder:
    @staticmethod
    def find_spec(*args):
        raise SystemExit

    find_module = find_spec


sys.meta_path[:] = [Finder]
sys.path_hooks[:] = []
sys.path[:] = []
print("wrong")
