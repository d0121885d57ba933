from __future__ import annotations

import platform
from importlib import metadata

from stepcoder_trl.versions import versions


def test_only_installed_packages_are_listed():
    found = versions("pytest", "no-such-package")

    assert found["python"] == platform.python_version()
    assert found["torch"] == metadata.version("torch")
    assert found["pytest"] == metadata.version("pytest")
    assert "no-such-package" not in found
