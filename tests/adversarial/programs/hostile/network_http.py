# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["nubbsy2kt4fp\n"]}
# expect: runtime_error
# note: a page

import urllib.request

print(urllib.request.urlopen("http://192.0.2.1/", timeout=1).read())
