# SPDX-License-Identifier: Apache-2.0
"""Snapshots inside a running machine (savevm, loadvm, snapshot-*): where they are kept, under which tags.

The emulator has no disk images. A machine that was given a qcow2 image (``-drive file=X,format=qcow2``) keeps the
snapshot TAG as a migration stream in the file ``X.TAG.vmstate``; without one nothing can be saved, as in QEMU.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.texts import text

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine

__all__ = ["Snapshots"]


class Snapshots:
    """The snapshots of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        images = [dict(b.props).get("file", "") for b in machine.options.of("drive") if b.kind == "qcow2"]
        self._image = images[0] if images else ""

    def _refuse(self, key: str) -> QmpError:
        return QmpError("GenericError", text(self._machine.release.name, key))

    def _file(self, tag: str) -> str:
        return f"{self._image}.{tag.replace('/', '_')}.vmstate"

    def save(self, tag: str) -> None:
        """Save as snapshot `tag`, replacing an earlier one; QmpError."""
        if not self._image:
            raise self._refuse("hmp-no-vmstate")
        self._machine.migration.save_snapshot(self._file(tag or "snapshot"))

    def load(self, tag: str) -> None:
        """Load the machine from snapshot `tag`; QmpError."""
        self._machine.migration.load_snapshot(self._existing(tag))

    def delete(self, tag: str) -> None:
        """Delete snapshot `tag`; QmpError. Without an image it does nothing, as QEMU does."""
        if self._image:
            os.unlink(self._existing(tag))  # noqa: PTH108 - pathlib is not for the start

    def _existing(self, tag: str) -> str:
        if not self._image:
            raise self._refuse("hmp-no-vmstate-load")
        file = self._file(tag)
        if not os.path.exists(file):  # noqa: PTH110 - as above
            raise QmpError("GenericError", f"Snapshot '{tag}' does not exist in one or more devices")
        return file

    def tags(self) -> list[str] | None:
        """All tags; None when there is nowhere to keep any."""
        if not self._image:
            return None
        directory, name = os.path.split(self._image)
        files = os.listdir(directory or ".")  # noqa: PTH208 - as above
        kept = [file for file in files if file.startswith(f"{name}.") and file.endswith(".vmstate")]
        return sorted(file.removeprefix(f"{name}.").removesuffix(".vmstate") for file in kept)
