"""An interpreter that every user of this machine can run, with this package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path


ROOT = Path(__file__).parents[1]


def interpreter_for_all(folder: Path) -> str:
    """Copy this interpreter with its standard library. Other users may not read the original in root's home."""
    packages = Path(sysconfig.get_paths()["stdlib"])
    home = folder / "python"
    library = home / "lib" / packages.name
    unneeded = shutil.ignore_patterns("site-packages", "test", "tests", "idlelib", "__pycache__", "config-*", "*.a")
    shutil.copytree(packages, library, ignore=unneeded)
    python = home / "bin" / "python"
    python.parent.mkdir()
    shutil.copy(Path(sys.executable).resolve(), python)
    for shared in Path(sysconfig.get_config_var("LIBDIR")).glob("libpython*.so*"):
        shutil.copy(shared, home / "lib")
    # The name of site-packages differs between distributions.
    command = [str(python), "-c", "import site; print(site.getsitepackages()[0])"]
    environment = {"LD_LIBRARY_PATH": str(home / "lib")}
    ours = Path(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip())
    import coverage

    shutil.copytree(Path(coverage.__file__).parent, ours / "coverage")
    for name in ("stepcoder_trl", "tests"):
        shutil.copytree(ROOT / name, ours / name, ignore=shutil.ignore_patterns("__pycache__"))
    return str(python)
