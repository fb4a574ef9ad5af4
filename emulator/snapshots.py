# SPDX-License-Identifier: Apache-2.0
"""Snapshots inside a running machine (savevm, loadvm, snapshot-*): which drives take part, and QEMU's rules.

Snapshots are in the qcow2 images themselves (`emulator.qcow2`), one entry in each drive that takes part, the machine's
state in one of them. The emulator neither reads nor writes what a disk holds: a snapshot keeps the image's content.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.properties import ON_WORDS
from migmatrix.emulator.qcow2 import Image, Qcow2Error, Snapshot, StateReader, StateWriter
from migmatrix.emulator.texts import text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.options.records import Backend

__all__ = ["Drive", "Snapshots"]

_READ_ONLY = ("read-only", "readonly")


class Drive(NamedTuple):
    """A writable block device: its name in messages, its node's name, its qcow2 image or "" when it has none."""

    name: str
    node: str
    image: str


def _error(desc: str) -> QmpError:
    return QmpError("GenericError", desc)


def _drives(backends: Sequence[Backend]) -> list[Drive]:
    """`-drive` and those `-blockdev` nodes that no other node stands on, if they can be written."""
    nodes = {b.id: dict(b.props) for b in backends if b.option == "blockdev"}
    below = {value for props in nodes.values() for key, value in props.items() if key in ("file", "backing")}
    found = []
    for backend in backends:
        props = dict(backend.props)
        path = props.get("file.filename") or props.get("file", "")
        if backend.option == "blockdev":
            path = nodes[path].get("filename", "") if path in nodes else path
            wanted, node = backend.id not in below, backend.id
        else:
            wanted, node = (
                backend.option == "drive" and bool(path or props.get("driver")),
                props.get("node-name", ""),
            )
        if wanted and not any(props.get(key) in ON_WORDS for key in _READ_ONLY):
            qcow2 = "qcow2" in (backend.kind, props.get("driver"))
            found.append(Drive(backend.id, node, path if qcow2 else ""))
    return found


class Snapshots:
    """The snapshots of one machine. `vmstate` and `devices` are node names; without them all drives take part."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._drives = _drives(machine.options.backends)

    def _chosen(self, devices: Sequence[str] | None) -> list[Drive]:
        """The drives that take part; QmpError unless all of them can."""
        chosen = self._drives if devices is None else [self._node(name) for name in devices]
        if devices is not None and not devices:
            raise _error("At least one device is required for snapshot")
        for drive in chosen:
            if not drive.image:
                name = drive.node if devices is not None else drive.name
                raise _error(f"Device '{name}' is writable but does not support snapshots")
        return chosen

    def _node(self, name: str) -> Drive:
        for drive in self._drives:
            if name and drive.node == name:
                return drive
        raise _error(f"No block device node '{name}'")

    def _holder(self, drives: list[Drive], vmstate: str | None, key: str) -> Drive:
        """The drive with the machine's state."""
        for drive in drives:
            if vmstate in (None, drive.node):
                return drive
        if vmstate is None:
            raise _error(text(self._machine.release.name, key))
        raise _error(f"vmstate block device '{vmstate}' does not exist")

    def save(self, tag: str, vmstate: str | None = None, devices: Sequence[str] | None = None) -> None:
        """Save as snapshot `tag`; one of that name is replaced, but with `devices` it is an error. QmpError."""
        drives, now = self._chosen(devices), time.time_ns()
        tag = tag or time.strftime("vm-%Y%m%d%H%M%S", time.localtime(now / 10**9))

        def work(images: dict[Drive, Image]) -> None:
            if devices is not None and all(image.find(tag) for image in images.values()):
                raise _error(f"Snapshot '{tag}' already exists in one or more devices")
            holder = self._holder(drives, vmstate, "hmp-no-vmstate")
            state = StateWriter(images[holder])

            def finish() -> None:
                for drive, image in images.items():
                    image.save(tag, now, self._machine.clock.now(), state if drive is holder else None)

            self._machine.migration.save_snapshot(state, finish)

        self._on(drives, work)

    def load(self, tag: str, vmstate: str | None = None, devices: Sequence[str] | None = None) -> None:
        """Load the machine from snapshot `tag`, and bring the disks back; QmpError."""
        drives = self._chosen(devices)

        def work(images: dict[Drive, Image]) -> None:
            found = {drive: image.find(tag) for drive, image in images.items()}
            if drives and None in found.values():
                raise _error(f"Snapshot '{tag}' does not exist in one or more devices")
            holder = self._holder(drives, vmstate, "hmp-no-vmstate-load")
            kept = {drive: taken for drive, taken in found.items() if taken is not None}
            if not kept[holder].state:
                raise _error("This is a disk-only snapshot. Revert to it offline using qemu-img")
            for drive, taken in kept.items():
                images[drive].revert(taken)
            self._machine.migration.load_snapshot(StateReader(images[holder], kept[holder]))

        self._on(drives, work)

    def delete(self, tag: str, devices: Sequence[str] | None = None) -> None:
        """Delete snapshot `tag` wherever it is; QmpError."""

        def work(images: dict[Drive, Image]) -> None:
            for image in images.values():
                if image.find(tag):
                    image.delete(tag)

        self._on(self._chosen(devices), work)

    def listed(self) -> dict[Drive, list[Snapshot]] | None:
        """The snapshots of each image; None when there is no drive for them."""
        drives = [drive for drive in self._drives if drive.image]
        found: dict[Drive, list[Snapshot]] = {}

        def work(images: dict[Drive, Image]) -> None:
            found.update({drive: image.snapshots for drive, image in images.items()})

        self._on(drives, work, writable=False)
        return found if drives else None

    def _on(
        self, drives: list[Drive], work: Callable[[dict[Drive, Image]], None], *, writable: bool = True
    ) -> None:
        """Do `work` on open images; a mistake in one, or of the host, is a QmpError."""
        drive = None
        with ExitStack() as opened:
            try:
                images = {}
                for drive in drives:
                    images[drive] = Image(drive.image, writable=writable)
                    opened.callback(images[drive].close)
                drive = None
                work(images)
            except OSError as error:
                what = f"Could not open '{drive.image}'" if drive else "Could not write the snapshot"
                raise _error(f"{what}: {error.strerror}") from error
            except Qcow2Error as error:
                raise _error(f"Could not use the image: {error}") from error
