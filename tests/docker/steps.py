"""
Run the steps of the Dockerfile in a folder that holds a fresh Debian, and then its command, without Docker.

    debootstrap --variant=minbase bookworm FOLDER
    python -m tests.docker.steps FOLDER selftest --isolation strict

Only root can change the root folder. The command runs as the user of the Dockerfile, without capabilities, in
namespaces of its own for processes, mounts, network and IPC. Docker's seccomp profile, its layered file system and the
base for CUDA are not part of this test.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


ROOT = Path(__file__).parents[2]
IGNORED = shutil.ignore_patterns(".*", "build", "dist", "runs", "*.egg-info", "__pycache__")
CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"  # the PATH of the image is for commands inside
OWN_MOUNTS = "--in-own-mounts"


@dataclass
class Image:
    """What the steps have said so far."""

    folder: Path
    host: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)

    def step(self, instruction: str, value: str) -> None:
        """Carry one instruction out."""
        if instruction == "ARG":
            name, _, default = value.partition("=")
            self.arguments.setdefault(name, default)
        elif instruction == "ENV":
            name, _, text = value.partition("=")
            self.environment[name] = text
        elif instruction == "WORKDIR":
            self.workdir = value
            (self.folder / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            shutil.copytree(ROOT, self.folder / self.workdir.lstrip("/"), ignore=IGNORED, dirs_exist_ok=True)
        elif instruction == "RUN":
            self.run(["/bin/sh", "-c", value])
        elif instruction == "USER":
            self.user = value
        elif instruction == "ENTRYPOINT":
            self.entrypoint = json.loads(value)
        elif instruction not in ("FROM", "CMD"):
            raise ValueError(f"{instruction} is no instruction that this script knows.")

    def run(self, command: list[str], namespaces: tuple[str, ...] = ()) -> None:
        """Run a command in the folder, with the image's environment, user and working directory."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **self.host, **self.arguments, **self.environment}
        identity = self._identity() if self.user != "root" else []
        inside = [CHROOT, str(self.folder), "env", "-C", self.workdir, *identity, *command]
        mount = f'mount -t proc proc {self.folder}/proc && exec "$@"'
        isolated = ["unshare", *namespaces, "sh", "-c", mount, "sh"] if namespaces else []
        subprocess.run([*isolated, *inside], env=environment, check=True)

    def _identity(self) -> list[str]:
        (line,) = re.findall(rf"^{self.user}:.*$", (self.folder / "etc/passwd").read_text(), re.MULTILINE)
        _, _, user, group, _, home, _ = line.split(":")
        flags = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
        return ["setpriv", *flags, "--no-new-privs", "env", f"HOME={home}"]


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each instruction, with its continuation lines."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    for line in filter(None, lines.splitlines()):
        name, _, value = line.partition(" ")
        yield name, value.strip()


def mount(folder: Path) -> None:
    """Give the folder the devices, the processes and the name servers of this machine."""
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    for name in ("proc", "dev"):
        subprocess.run(["mount", "--rbind", f"/{name}", folder / name], check=True)


def host_settings(folder: Path) -> dict[str, str]:
    """Return this machine's settings of pip and of proxies. Certificates and wheels that they name come along."""
    found = {name: text for name, text in os.environ.items() if name.startswith("PIP_") or "proxy" in name.lower()}
    for name, text in found.items():
        source, target = Path(text), folder / "mnt" / name
        if source.is_absolute() and source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", source, target], check=True)
        elif source.is_absolute() and source.is_file():
            shutil.copy(source, target)
        else:
            continue
        found[name] = f"/mnt/{name}"
    return found


def main(folder: Path, command: list[str]) -> None:
    folder = folder.resolve()
    mount(folder)
    image = Image(folder, host_settings(folder), {"DEBIAN_FRONTEND": "noninteractive"})
    image.arguments.update({name: os.environ[name] for name in ("TORCH_INDEX", "EXTRAS") if name in os.environ})
    for name, value in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        print(f"{name} {value}", flush=True)
        image.step(name, value)
    image.run([*image.entrypoint, *command], ("--mount", "--pid", "--fork", "--net", "--ipc"))


if __name__ == "__main__":
    if sys.argv[1] != OWN_MOUNTS:
        # In a mount namespace of its own, so that no mount outlives this process.
        os.execvp(
            "unshare", ["unshare", "--mount", sys.executable, "-m", "tests.docker.steps", OWN_MOUNTS, *sys.argv[1:]]
        )
    main(Path(sys.argv[2]), sys.argv[3:])
