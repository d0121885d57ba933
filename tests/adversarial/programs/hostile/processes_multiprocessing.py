# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["7cqt5m88wttp\n"]}
# expect: runtime_error
# note: a pool of them

import multiprocessing

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(4) as pool:
        print(pool.map(abs, range(10)))
