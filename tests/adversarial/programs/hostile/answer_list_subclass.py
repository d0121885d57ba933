# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [[825167599, 523582952, 929060213], [615011056, 143629966, 731742590]]}
# expect: failed
# note: a list whose elements, length and comparisons lie

class Everything(list):
    def __eq__(self, other):
        return True

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self

    def __iter__(self):
        return iter((self, self, self))


def solve(n):
    return Everything()
