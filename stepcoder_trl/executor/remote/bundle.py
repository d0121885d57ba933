"""Bundle the fork server into one script, for machines where this package is not installed."""

from __future__ import annotations

import ast
import base64
import json
import zlib
from functools import lru_cache
from pathlib import Path

from stepcoder_trl.parsing import syntax_tree


_ENTRY = "stepcoder_trl.executor.server.once"
_ROOT = Path(__file__).parents[3]

# The bundle holds only the modules that the server needs. Packages are empty.
_SCRIPT = """\
import base64, importlib.abc, importlib.util, json, os, sys, zlib

if sys.version_info < (3, 10):
    sys.exit("this sandbox has Python %d.%d, but 3.10 or newer is needed" % sys.version_info[:2])
SOURCES = json.loads(zlib.decompress(base64.b85decode("{payload}")))


class Sent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name in SOURCES:
            return importlib.util.spec_from_loader(name, self, is_package=SOURCES[name] is None)

    def exec_module(self, module):
        source = SOURCES[module.__name__]
        if source is not None:
            exec(compile(source, module.__name__, "exec"), module.__dict__)


sys.meta_path.insert(0, Sent())
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
from {entry} import main
main()
"""


@lru_cache(maxsize=1)
def server_script() -> str:
    """Return a script in ASCII that runs one job, see `once.py`. It needs only Python 3.10 or newer."""
    sources: dict[str, str | None] = {}
    _collect(_ENTRY, sources)
    payload = base64.b85encode(zlib.compress(json.dumps(sources).encode("ascii"), 9)).decode("ascii")
    return _SCRIPT.format(payload=payload, entry=_ENTRY)


def _collect(module: str, sources: dict[str, str | None]) -> None:
    """Add a module and the modules of this package that it imports."""
    if module in sources:
        return
    package = module.rpartition(".")[0]
    while package:
        sources[package] = None
        package = package.rpartition(".")[0]
    source = _file_of(module).read_text(encoding="utf-8")
    tree = syntax_tree(source)
    sources[module] = _without_docstrings(source, tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                if name.startswith("stepcoder_trl.") and _file_of(name).is_file():
                    _collect(name, sources)


def _without_docstrings(source: str, tree: ast.Module) -> str:
    """Return a module with empty docstrings on the same lines. They are a quarter of the script."""
    lines = source.split("\n")
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str()), lineno=first, end_lineno=int() as last, col_offset=column):
                lines[first - 1 : last] = [" " * column + '""', *[""] * (last - first)]
    return "\n".join(lines)


def _file_of(module: str) -> Path:
    return _ROOT.joinpath(*module.split(".")).with_suffix(".py")
