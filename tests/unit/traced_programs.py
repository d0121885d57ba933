"""Programs with all kinds of statements, whose lines are traced. They end by themselves and need no input."""

from __future__ import annotations

import sys


PROGRAMS = {
    "docstring alone": '"""Text."""\n',
    "comment alone": "# nothing\n",
    "empty": "",
    "future import": '"""Text."""\nfrom __future__ import annotations\nx: int\ny: int = 1\n',
    "byte order mark": "\ufeffx = 1\n",
    "branches": ("x = 1\nif x > 1:\n    y = 1\nelif x == 1:\n    y = 2\nelif x:\n    y = 3\nelse:\n    y = 4\n"),
    "constant conditions": (
        "if 0:\n    x = 1\nif 1:\n    x = 2\nelse:\n    x = 3\nif not 0:\n    x = 4\nif __debug__:\n    x = 5\n"
    ),
    "type checking": ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\nelse:\n    os = None\n"),
    "constant loop": (
        "n = 0\nwhile True:\n    n += 1\n    if n > 3:\n        break\n"
        "while 1:\n    break\nwhile 0:\n    n = 9\nelse:\n    n = 8\n"
    ),
    "constant loop in function": (
        "def f():\n    while True:\n        return 1\n\ndef g():\n"
        "    while 1:\n        try:\n            return 1\n"
        "        finally:\n            pass\nf()\ng()\n"
    ),
    "loop of a generator": "def f():\n    while True:\n        yield 1\nnext(f())\n",
    "loops": (
        "for i in range(3):\n    if i:\n        continue\n    x = i\nelse:\n    x = 9\n"
        "for i in []:\n    x = 1\nwhile x > 7:\n    x -= 1\nelse:\n    x = 0\n"
    ),
    "loop with pass": ("for i in range(2):\n    pass\nfor i in range(2): pass\nwhile i:\n    i -= 1\n"),
    "functions": (
        'def f(a,\n      b=1,\n      ):\n    """Text."""\n    return (a +\n'
        "            b)\nx = f(\n    1,\n)\ndef never():\n    return 1\n"
    ),
    "function with docstring": (
        'def f():\n    """Text."""\nclass A:\n    """Text."""\n    def g(self):\n        """Text."""\nf()\nA().g()\n'
    ),
    "one line suites": (
        "if 1: x = 1\nelse: x = 2\nfor i in (1, 2): x = i\nwhile x: x = 0\n"
        "def f(): return 1\nclass A: y = 1\nf(); x = 3; A()\ntry: x = 1 / 0\n"
        "except ZeroDivisionError: x = 4\nfinally: x = 5\n"
    ),
    "decorators": (
        "import functools\ndef d(*a):\n    def inner(g):\n"
        "        @functools.wraps(g)\n        def h(*b):\n"
        "            return g(*b)\n        return h\n    return inner\n@d(\n"
        "    1,\n)\n@functools.lru_cache\ndef f(x):\n    return x\n"
        "@functools.total_ordering\nclass A:\n"
        "    def __lt__(self, o): return True\n    @property\n    def p(self):\n"
        "        return 1\n    @staticmethod\n    def s():\n        return 2\n"
        "f(1)\nA().p\nA.s()\n"
    ),
    "lambdas": (
        "f = lambda x: x + 1\ng = (lambda x:\n     x * 2)\nh = [\n    lambda: 1,\n"
        "    lambda: 2,\n]\nf(1)\ng(2)\nh[1]()\n"
    ),
    "comprehensions": (
        "a = [\n    x\n    for x in range(3)\n    if x\n]\n"
        "b = {x: [y for y in a] for x in a}\nc = {x for x in a}\nd = sum(x\n"
        "        for x in a)\ne = any(x for x in [])\n"
    ),
    "generators": (
        "def g(n):\n    for i in range(n):\n        yield i\n"
        "    yield from [1, 2]\n    return 5\nlist(g(2))\nh = g(3)\nnext(h)\n"
        "del h\nunused = g(1)\n"
    ),
    "coroutines": (
        "import asyncio\nclass A:\n    async def __aenter__(self):\n"
        "        return 1\n    async def __aexit__(self, *a):\n"
        "        return False\nasync def g():\n    yield 1\n"
        "    await asyncio.sleep(0)\n    yield 2\nasync def f():\n"
        "    async with A() as a:\n        x = a\n    async for i in g():\n"
        "        x += i\n    y = [i async for i in g()]\n    return await h()\n"
        "async def h():\n    return 1\nasyncio.run(f())\n"
    ),
    "match": (
        "def f(x):\n    match x:\n        case 0:\n            return 0\n"
        "        case 1 | 2:\n            return 1\n        case (a, b) if a > b:\n"
        "            return 2\n        case [\n            a,\n            *rest,\n"
        "        ]:\n            return 3\n        case {'k': v}:\n"
        "            return 4\n        case str() as s: return s\n        case _:\n"
        "            return 5\n"
        "for x in (0, 2, (2, 1), [1, 2, 3], {'k': 1}, 'a', None): f(x)\n"
    ),
    "match without a match": (
        "x = 1\nmatch x:\n    case 2:\n        y = 1\n    case 3:\n"
        "        y = 2\nmatch x:\n    case 2 | _:\n        z = 1\n"
        "match x:\n    case z:\n        z = 1\n"
    ),
    "exceptions": (
        "try:\n    x = 1\n    raise ValueError\nexcept KeyError:\n    x = 2\n"
        "except (TypeError,\n        ValueError) as e:\n    x = 3\nelse:\n"
        "    x = 4\nfinally:\n    x = 5\ntry:\n    pass\nexcept KeyError:\n"
        "    x = 6\nelse:\n    x = 7\ntry:\n    try:\n        {}[1]\n"
        "    except ValueError:\n        x = 8\n    finally:\n        x = 9\n"
        "except:\n    x = 10\n"
    ),
    "return in finally": (
        "def f():\n    for i in range(2):\n        try:\n"
        "            continue\n        finally:\n            x = 1\n"
        "    try:\n        return 1\n    finally:\n        x = 2\nf()\n"
    ),
    "with": (
        "import contextlib\nwith contextlib.suppress(KeyError):\n    {}[1]\n    x = 1\n"
        "with (\n    contextlib.suppress(KeyError) as a,\n"
        "    contextlib.suppress(ValueError),\n):\n    x = 2\n"
        "with contextlib.suppress(ValueError): raise ValueError\n"
    ),
    "uncaught error": "def f(x):\n    return 1 / x\nx = 1\nf(0)\nx = 2\n",
    "exit": "import sys\nx = 1\nif x:\n    sys.exit(0)\nx = 2\n",
    "scopes": (
        "x = 1\ndef f():\n    global x\n    x = 2\ndef g():\n    y = 1\n    def h():\n"
        "        nonlocal y\n        y = 2\n    h()\n    return y\ndef silent():\n"
        "    global x\nf()\ng()\nsilent()\n"
    ),
    "annotations": (
        "x: int\nclass A:\n    y: int\n    z: 'str' = ''\ndef f(a: int) -> int:\n"
        "    b: int\n    return a\nif x_known if (x_known := True) else 0:\n"
        "    c: int\nf(1)\n"
    ),
    "classes": (
        "class Meta(type):\n    def __new__(m, n, b, d):\n"
        "        return super().__new__(m, n, b, d)\nclass A(metaclass=Meta):\n"
        "    x = 1\n    if x:\n        y = 2\n    for i in range(2): z = i\n"
        "    class B:\n        pass\nimport enum\nclass C(enum.Enum):\n    RED = 1\n"
        "    BLUE = 2\nclass D(\n    A,\n): ...\n"
    ),
    "dead code": (
        "def f():\n    return 1\n    x = 2\ndef g(n):\n    if n:\n"
        "        raise ValueError\n        x = 1\n    return 2\ndef h():\n"
        "    while True:\n        break\n        x = 1\n    if 0:\n"
        "        return 1\n    return 2\nf()\ng(0)\nh()\n"
    ),
    "constants": "1\n'text'\nNone\n...\nx = 1 + 2\n(1, 2)\nassert True\nassert 1, 'x'\npass\n",
    "operators over lines": (
        "x = (1 and\n     0 or\n     2)\ny = (x if x\n     else 3)\n"
        "z = [1,\n     2][\n     0]\nif (x and\n        y and\n"
        "        0):\n    z = 1\nassert (x ==\n        2), (\n"
        "        'text')\ndel x, \\\n    y\n"
    ),
    "strings over lines": ("x = '''a\nb\n'''\ny = f'''{x}\n{x +\nx}\n'''\nprint(\n    x,\n    end='')\n"),
    "imports": "import os, \\\n    sys\nfrom os import (\n    path,\n    sep,\n)\n",
    "line ends": "x = 1\r\nif x:\r\n    y = 2\r\nelse:\r\n    y = 3\r",
    "recursion": ("def f(n):\n    return f(n + 1)\ntry:\n    f(0)\nexcept RecursionError:\n    x = 1\nx = 2\n"),
    "caught in a generator": (
        "def g():\n    try:\n        yield 1\n    finally:\n        x = 1\nfor i in g():\n    break\n"
    ),
    "threads": (
        "import threading\ndef f():\n    x = 1\n    return x\nt = threading.Thread(target=f)\nt.start()\nt.join()\n"
    ),
    "low threads": (
        "import _thread\ndone = _thread.allocate_lock()\ndone.acquire()\n"
        "def f(a, b=0):\n    x = a + b\n    done.release()\n"
        "_thread.start_new_thread(f, (1,), {'b': 2})\ndone.acquire()\n"
    ),
    "source that is run": "exec('x = 1\\ny = 2')\nz = eval('1 +\\\\\\n2')\n",
    "walrus": "if (n := 3) > 2:\n    x = n\nwhile (n := n - 1):\n    pass\n",
    "nested functions in headers": (
        "for x in (lambda: [1,\n        2])():\n    y = x\n"
        "with open(\n"
        "        __file__) if False else __import__('contextlib').nullcontext():\n"
        "    z = 1\n"
    ),
}
if sys.version_info >= (3, 11):
    PROGRAMS["exception groups"] = (
        "try:\n    raise ExceptionGroup('a', [ValueError(), KeyError()])\n"
        "except* ValueError:\n    x = 1\nexcept* (KeyError,\n"
        "         TypeError) as e:\n    x = 2\nexcept* OSError:\n    x = 3\n"
    )
if sys.version_info >= (3, 12):
    PROGRAMS["type parameters"] = (
        "type A[T] = list[T]\ndef f[T](x: T) -> T:\n    return x\nclass B[T]:\n    y = 1\nf(1)\n"
    )
