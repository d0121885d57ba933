from __future__ import annotations

import subprocess
import sys

import pytest

from stepcoder_trl.trainer._trl import check_trl_version


@pytest.mark.parametrize("version", ["1.0.0", "1.6.0", "1.12.0", "1.12.9", "1.12.1.dev0"])
def test_releases_with_the_trainer_are_accepted(version):
    check_trl_version(version)


@pytest.mark.parametrize("version", [None, "0.11.4", "0.29.1", "1.13.0", "1.13.0.dev0", "1.16.2", "2.0.0"])
def test_other_releases_are_refused_with_range_and_command(version):
    with pytest.raises(ImportError) as error:
        check_trl_version(version)

    assert "trl>=1.0,<1.13" in str(error.value)
    assert "pip install 'trl>=1.0,<1.13'" in str(error.value)
    assert (version or "not installed") in str(error.value)


def test_the_package_and_its_lower_layers_load_without_torch():
    modules = "stepcoder_trl, stepcoder_trl.masking, stepcoder_trl.curriculum, stepcoder_trl.executor"
    program = f"import sys, {modules}; print(sorted({{'torch', 'transformers', 'trl'}} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_an_incompatible_trl_is_named_when_the_trainer_is_imported():
    program = (
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "m.version = lambda name: '1.13.0' if name == 'trl' else real(name)\n"
        "import stepcoder_trl\n"
        "try:\n"
        "    stepcoder_trl.StepCoderPPOTrainer\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "trl 1.13.0 is installed" in done.stdout
    assert "pip install 'trl>=1.0,<1.13'" in done.stdout
