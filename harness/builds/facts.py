# SPDX-License-Identifier: Apache-2.0
"""What is known of a prepared build: its identity, where it runs, and what it can do.

Pure records; `probe.py` fills them, the plan and the engines read them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BuildFacts", "MachineType", "PreparedBuild"]


@dataclass(frozen=True, slots=True)
class MachineType:
    """One row of `query-machines`."""

    name: str
    alias: str = ""
    deprecated: bool = False
    default_cpu: str = ""


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What the emulator said of itself, cached by `digest`.

    `digest` is the hex SHA-256 over the emulator binary, its modules and its firmware files (names
    and contents): equal digests behave equally. Of an image that others made, the engine's digest of its layers
    and its environment goes in too: what such an image says of its own files is its word only.
    `version` is the emulator's own ("10.0.13"), `package` the distribution's exact version or "".
    """

    digest: str
    version: str
    package: str
    machines: tuple[MachineType, ...]
    devices: tuple[str, ...]
    capabilities: tuple[str, ...]
    target: str = (
        ""  # the guests' architecture as QEMU calls it ("x86_64", "s390x"); empty when it does not say
    )

    def knows_machine(self, name: str) -> bool:
        """Whether `name` is a machine type or alias of this build."""
        return any(name in (m.name, m.alias) for m in self.machines)


@dataclass(frozen=True, slots=True)
class PreparedBuild:
    """A build that is ready to start.

    `binary` is the path of the emulator: inside `image` (an engine's image id) or on the host when
    `image` is empty. `args` are added to every command line of this build. `supervisor` starts its emulators on the
    host better than the harness's own does, and speaks the same protocol; empty where the build has none.
    """

    id: str
    provider: str
    origin: str  # where it came from, for people: "debian trixie-backports"
    facts: BuildFacts
    binary: str
    image: str = ""
    args: tuple[str, ...] = ()
    supervisor: str = ""
