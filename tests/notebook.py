"""
Run the code cells of a notebook in one namespace, without Jupyter.

    python -m tests.notebook examples/stepcoder.ipynb

writes what the cells print into the notebook, as its outputs.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[str, Any]:
    """Return a notebook as JSON."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def code_cells(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cells that hold code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def shown(cell: Mapping[str, Any]) -> str:
    """Return what a cell printed when its outputs were written."""
    return "".join(line for output in cell["outputs"] for line in output["text"])


def printed(notebook: Mapping[str, Any], changes: Mapping[str, str]) -> Iterator[str]:
    """Run the cells in turn and yield what each prints. `changes` replaces texts that occur in one cell each."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    sources = ["".join(cell["source"]) for cell in code_cells(notebook)]
    for old, new in changes.items():
        (place,) = (number for number, source in enumerate(sources) if old in source)
        sources[place] = sources[place].replace(old, new)
    for number, source in enumerate(sources, start=1):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(source, f"<cell {number}>", "exec"), namespace)
        yield out.getvalue()


def main(path: Path) -> None:
    notebook = read(path)
    for cell, text in zip(code_cells(notebook), printed(notebook, {}), strict=True):
        lines = text.splitlines(keepends=True)
        cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": lines}] if text else []
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
