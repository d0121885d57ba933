from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from stepcoder_trl.trainer._trl import SUPPORTED_TRL, check_trl_version, ships_ppo_trainer


@pytest.mark.parametrize("version", ["1.0.0", "1.6.0", "1.12.0", "1.13.0.dev0", "1.13.0", "1.16.0", "2.0.0"])
def test_releases_of_the_range_are_accepted(version):
    assert check_trl_version(version) == version


@pytest.mark.parametrize("version", [None, "0.11.4", "0.29.1", "1.0.0.dev0"])
def test_other_releases_are_refused_with_range_and_command(version):
    with pytest.raises(ImportError) as error:
        check_trl_version(version)

    assert "trl>=1.0" in str(error.value)
    assert "pip install 'trl>=1.0'" in str(error.value)
    assert (version or "not installed") in str(error.value)


@pytest.mark.parametrize(
    ("version", "ships"),
    [("1.0.0", True), ("1.12.9", True), ("1.13.0.dev0", False), ("1.13.0", False), ("2.0.0", False)],
)
def test_releases_with_ppo_trainer(version, ships):
    assert ships_ppo_trainer(version) == ships


def test_the_declared_requirement_is_the_range():
    (requirement,) = (
        one for one in importlib.metadata.requires("stepcoder-trl") if one.startswith("trl") and "extra ==" not in one
    )

    assert Requirement(requirement).specifier == SUPPORTED_TRL


def test_the_package_and_its_lower_layers_load_without_torch():
    modules = "stepcoder_trl, stepcoder_trl.masking, stepcoder_trl.curriculum, stepcoder_trl.executor"
    program = f"import sys, {modules}; print(sorted({{'torch', 'transformers', 'trl'}} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def as_if_installed(version: str, program: str) -> str:
    """Return the output of a program in a fresh interpreter with this version of TRL."""
    pretend = (
        "import importlib.metadata as m\n"
        "real = m.version\n"
        f"m.version = lambda name: {version!r} if name == 'trl' else real(name)\n"
    )
    return subprocess.run([sys.executable, "-c", pretend + program], capture_output=True, text=True, check=True).stdout


def test_import_of_the_trainer_names_incompatible_trl():
    program = (
        "import stepcoder_trl\n"
        "try:\n"
        "    stepcoder_trl.StepCoderPPOTrainer\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )

    output = as_if_installed("0.29.1", program)

    assert "trl 0.29.1 is installed" in output
    assert "pip install 'trl>=1.0'" in output


@pytest.mark.parametrize(
    ("version", "module"), [("1.12.0", "trl.experimental.ppo"), ("1.13.0", "stepcoder_trl.trainer._parent")]
)
def test_parents_depend_on_the_release(version, module):
    if not ships_ppo_trainer(importlib.metadata.version("trl")) and module.startswith("trl"):
        pytest.skip("the TRL that is installed has no PPOTrainer")
    program = (
        "import stepcoder_trl\n"
        "for cls in (stepcoder_trl.StepCoderPPOTrainer, stepcoder_trl.StepCoderPPOConfig):\n"
        "    print(next(one.__module__ for one in cls.__mro__ if one.__name__ in ('PPOTrainer', 'PPOConfig')))\n"
    )

    lines = as_if_installed(version, program).splitlines()

    assert len(lines) == 2
    assert all(line.startswith(module) for line in lines)
