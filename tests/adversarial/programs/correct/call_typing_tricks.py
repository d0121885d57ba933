# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [-3], [100000000000000000000]], "outputs": [14, -6, 200000000000000000000], "preamble": "from typing import Dict, List, Optional"}
# expect: passed
# note: List without an import is in the preamble

class Solution:
    def solve(self, n: int, cache: Dict[int, List[int]] = {}) -> Optional[int]:
        return n * 2
