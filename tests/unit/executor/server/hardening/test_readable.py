"""Programs read the interpreter's files and installed packages, and nothing that lies beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepcoder_trl.executor.server.hardening import readable
from tests.unit.executor.server.hardening.probes import PROBE_SERVER, missing_layers, request_of, run_server


ROOT = Path(__file__).parents[5]
LIBRARIES = ("numpy", "pandas", "sqlite3", "ssl", "ctypes", "lzma", "curses")
VENV = "/checkout/.venv/lib/python3/site-packages"
LAYOUTS = {
    "virtual environment": (
        ["/py/lib/python3.zip", "/py/lib/python3", "/py/lib/python3/lib-dynload", VENV],
        "/py",
        ["/py/lib/python3/lib-dynload", VENV, "/py/lib"],
    ),
    "Debian": (
        ["/usr/lib/python3", "/usr/local/lib/python3/dist-packages", "/usr/lib/python3/dist-packages/"],
        "/usr",
        ["/usr/local/lib/python3/dist-packages", "/usr/lib/python3/dist-packages", "/usr/lib"],
    ),
    "editable installation": (
        ["", "relative/site-packages", "/checkout", "/checkout/.git", "/home/user", "/env/lib/python3/site-packages"],
        "/env",
        ["/env/lib/python3/site-packages", "/env/lib"],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_installed_folders_alone_are_chosen(tmp_path, layout):
    search_path, prefix, expected = LAYOUTS[layout]
    for path in (*search_path, *expected):
        if path.startswith("/"):
            Path(f"{tmp_path}{path}").mkdir(parents=True, exist_ok=True)
    search = [f"{tmp_path}{path}" if path.startswith("/") else path for path in search_path]

    found = readable.select([], search, f"{tmp_path}{prefix}", "lib64", [])

    assert found == [f"{tmp_path}{path}" for path in expected]


def test_package_is_hidden_in_the_folders_that_hold_it(tmp_path):
    packages = tmp_path / "lib" / "python3" / "site-packages"
    (packages / "ours" / "answers").mkdir(parents=True)
    (packages / "other").mkdir()
    (packages / "alias").symlink_to("ours")
    (tmp_path / "lib" / "python3" / "json").mkdir()
    (tmp_path / "lib" / "libc.so").touch()

    found = readable.select(
        [str(tmp_path / "lib" / "python3")], [str(packages)], str(tmp_path), "lib", [str(packages / "ours")]
    )

    assert [os.path.relpath(path, tmp_path / "lib") for path in found] == [
        *("python3", "python3/json", "python3/site-packages", "python3/site-packages/other", ".", "libc.so")
    ]
    assert [path.removesuffix("/.") for path in found if path.endswith("/.")] == [
        str(folder) for folder in (tmp_path / "lib" / "python3", packages, tmp_path / "lib")
    ]


LISTING = """
import importlib, os, sys
from stepcoder_trl.executor.server.hardening.landlock import Ruleset
from stepcoder_trl.executor.server.hardening.libc import PR_SET_NO_NEW_PRIVS, prctl
base, library = sys.argv[1:]
sys.path.insert(0, library)
prctl(PR_SET_NO_NEW_PRIVS, 1)
Ruleset(base, [f"{library}/.", f"{library}/other.py"]).restrict_self("")
importlib.invalidate_caches()
import other
print(sorted(os.listdir(library)), os.listdir(f"{library}/ours"))
try:
    open(f"{library}/ours/answers")
except PermissionError:
    print("denied")
"""


@pytest.mark.sandbox
@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is of Linux")
def test_modules_beside_the_hidden_package_are_found_by_name(tmp_path):
    if "landlock" in missing_layers():
        pytest.skip("this machine lacks Landlock")
    library, base = tmp_path / "library", tmp_path / "base"
    (library / "ours").mkdir(parents=True)
    base.mkdir()
    (library / "other.py").touch()
    (library / "ours" / "answers").touch()

    command = [sys.executable, "-B", "-c", LISTING, str(base), str(library)]
    printed = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True).stdout

    assert printed == "['other.py', 'ours'] ['answers']\ndenied\n"


def test_neither_the_checkout_nor_the_prefix_is_readable():
    paths = [Path(path).resolve() for path in readable.readable_paths() if not path.endswith("/.")]

    assert Path(os.__file__).resolve().parent in paths
    for hidden in (ROOT, ROOT / "stepcoder_trl", ROOT / ".git", Path(sys.prefix), Path(sys.base_prefix), Path.home()):
        assert not any(hidden.resolve().is_relative_to(path) for path in paths)


@pytest.mark.sandbox
@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is of Linux")
def test_libraries_load_and_the_checkout_does_not(outside):
    if "landlock" in missing_layers():
        pytest.skip("this machine lacks Landlock")
    there = [name for name in LIBRARIES if _loads(name)]
    probes = {name: f"import {name}; value = 1" for name in there}
    hidden = {"project": str(ROOT / "pyproject.toml"), "settings": os.path.join(sys.prefix, "pyvenv.cfg")}
    probes |= {name: f"open({path!r})" for name, path in hidden.items() if os.path.exists(path)}

    results = run_server(probes, outside, isolation="auto")["results"]

    assert results == {name: {"value": 1} if name in there else {"error": "EACCES"} for name in probes}


@pytest.mark.sandbox
@pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="there is no interpreter of the system")
def test_systems_interpreter_loads_its_library(outside, tmp_path):
    request = request_of({"ssl": "import ssl, sqlite3, lzma; value = 1"}, str(tmp_path), outside, isolation="auto")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    new_enough = subprocess.run(["/usr/bin/python3", "-c", "import sys; sys.exit(sys.version_info < (3, 10))"])
    if new_enough.returncode:
        pytest.skip("it is too old")

    done = subprocess.run(
        ["/usr/bin/python3", "-c", PROBE_SERVER], input=request, capture_output=True, text=True, env=environment
    )

    assert '"results": {"ssl": {"value": 1}}' in done.stdout, done.stderr


def _loads(name: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True).returncode == 0


def test_package_is_hidden_among_the_systems_libraries(tmp_path, monkeypatch):
    package = tmp_path / "local" / "lib" / "python3" / "site-packages" / "stepcoder_trl"
    package.mkdir(parents=True)
    (package.parent / "other").mkdir()
    monkeypatch.setattr(readable, "_LIBRARIES", (str(tmp_path / "local" / "lib"),))
    monkeypatch.setattr(sys.modules["stepcoder_trl"], "__path__", [str(package)])

    paths = [Path(path) for path in readable.readable_paths() if not path.endswith("/.")]

    assert package.parent / "other" in paths
    assert not any(package.is_relative_to(path) for path in paths)
