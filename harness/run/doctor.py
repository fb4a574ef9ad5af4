# SPDX-License-Identifier: Apache-2.0
"""Is this host fit: each thing that runs may need, whether it is there, and what to do when it is not.

Starts nothing and changes nothing. What only some matrices need is told, and is no failure.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from migmatrix.harness.builds.client import new_client
from migmatrix.harness.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Finding", "examine"]

_OLDEST = (3, 11)
_SPACE = 5 << 30  # bytes: a few images, and the streams of a small run
_USERFAULTFD = Path("/dev/userfaultfd"), Path("/proc/sys/vm/unprivileged_userfaultfd")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing: whether it is `fit`, what was found or what to do; `needed` when no run works without it."""

    name: str
    fit: bool
    text: str
    needed: bool = False


def examine(store: Path) -> Iterator[Finding]:
    """Look at the host; `store` is the leg store, which need not exist yet."""
    yield _python()
    yield _system()
    yield _space(store)
    yield _writable(store)
    yield _engine()
    yield _tool("mmdebstrap", "makes base images where no registry answers: apt install mmdebstrap")
    yield _kvm()
    yield _userfaultfd()


def _python() -> Finding:
    return Finding(
        "python", sys.version_info >= _OLDEST, f"{platform.python_version()}; 3.11 or later", needed=True
    )


def _system() -> Finding:
    name = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Finding("system", platform.system() == "Linux", f"{name}; Linux is needed", needed=True)


def _existing(path: Path) -> Path:
    """The nearest directory above that is there."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _space(store: Path) -> Finding:
    place = _existing(store)
    free = shutil.disk_usage(place).free
    text = f"{free / (1 << 30):.1f} GiB free below {str(place)!r}; {_SPACE >> 30} GiB are wanted"
    return Finding("disk", free >= _SPACE, text)


def _writable(store: Path) -> Finding:
    place = _existing(store)
    fit = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    text = (
        str(store)
        if fit
        else f"cannot write to {str(place)!r}: name another store with --store or $MIGMATRIX_STORE"
    )
    return Finding("store", fit, text, needed=True)


def _engine() -> Finding:
    try:
        version = new_client().version()
    except EngineError as err:
        return Finding("engine", fit=False, text=f"{err}; the reference emulator and binaries need none")
    return Finding(
        "engine", fit=True, text=f"{version.get('Platform', {}).get('Name') or 'engine'} {version['Version']}"
    )


def _tool(name: str, why: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, path is not None, path or f"not found; {why}")


def _kvm() -> Finding:
    path = Path("/dev/kvm")
    if not path.exists():
        return Finding("kvm", fit=False, text="no /dev/kvm; builds run with TCG")
    fit = os.access(path, os.R_OK | os.W_OK)
    return Finding("kvm", fit, str(path) if fit else f"no right to {path}: add yourself to the group kvm")


def _userfaultfd() -> Finding:
    device, setting = _USERFAULTFD
    allowed = setting.exists() and setting.read_text().strip() == "1"
    fit = allowed or os.geteuid() == 0 or os.access(device, os.R_OK | os.W_OK)
    return Finding(
        "userfaultfd",
        fit,
        "allowed" if fit else "postcopy of real QEMU fails: sysctl vm.unprivileged_userfaultfd=1",
    )
