# SPDX-License-Identifier: Apache-2.0
"""Files of QEMU's source, from Debian's source package, with apt and the mirror that the host uses; never kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from migmatrix.harness.builds.apt import debian_mirror

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["fetch_source"]

_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"


def fetch_source(directory: Path, suite: str, wanted: Sequence[str]) -> str:
    """Unpack `wanted` (names or patterns, from the source's root) into `directory`; what is missing, "" for nothing."""
    mirror = debian_mirror()
    if mirror is None:
        return "a Debian mirror in apt's configuration"
    if missing := [tool for tool in ("apt-get", "tar", "xz") if shutil.which(tool) is None]:
        return f"{missing[0]!r}"
    options = _private_apt(mirror, directory, suite)
    for command in (["update"], ["source", "--download-only", "qemu"]):
        done = subprocess.run(
            ["apt-get", *options, "-qq", *command], cwd=directory, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            return (
                f"Debian's source package of QEMU ({(done.stderr.splitlines() or ['no reason given'])[-1]})"
            )
    (archive,) = directory.glob("qemu_*.orig.tar.*")
    patterns = [
        "--wildcards",
        "--strip-components=1",
        "-C",
        str(directory),
        *(f"*/{name}" for name in wanted),
    ]
    subprocess.run(["tar", "-xf", str(archive), *patterns], check=True)
    archive.unlink()
    return ""


def _private_apt(mirror: str, directory: Path, suite: str) -> list[str]:
    """Options that give apt a source line and directories of its own; the host's stay as they are."""
    for name in ("lists/partial", "cache/archives/partial"):
        (directory / name).mkdir(parents=True)
    sources = directory / "sources.list"
    sources.write_text(f"deb-src [signed-by={_KEYRING}] {mirror} {suite} main\n")
    settings = {
        "Dir::State::lists": directory / "lists",
        "Dir::Cache": directory / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "APT::Sandbox::User": "root" if os.getuid() == 0 else "",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
