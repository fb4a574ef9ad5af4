# SPDX-License-Identifier: Apache-2.0
"""Where the reader of a main channel is: each phase, what it may meet there, and the phase that follows.

Rules:
1. A channel begins at HEADER, one that continues a broken channel at SECTIONS, the inside of a package at
   PACKAGE.
2. `NEXT` holds every pair of a phase and what may be met in it. Any other pair is a fault of the reader:
   KeyError.
3. `Progress` is all the state of the framing. What the channel has said (started sections, RAM blocks) is
   data, and lives elsewhere; it leads to no phase.
4. Footers and the configuration are properties of their own (`send-section-footer`, `send-configuration`). The first
   section tells whether all have footers, for packages and for a continued channel too; in a stream without a
   configuration (machine types up to 2.3) any section may have one.
5. A package ends with its bytes or with an end byte; a loader skips what follows that byte in silence.
   Packages do not nest.
6. A payload whose length nothing tells ends the reading: the rest of the input belongs to it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["NEXT", "Met", "Phase", "Progress"]


class Phase(Enum):
    """What the reader expects next."""

    HEADER = "magic and version"
    CONFIGURATION = "the configuration section, if there is one"
    SECTIONS = "sections and commands up to the end byte"
    PACKAGE = "sections and commands inside a package"
    DESCRIPTION = "the VM description, if there is one"
    TRAILING = "bytes that belong to nothing"
    END = "nothing"


class Met(Enum):
    """What the reader found."""

    HEADER = "a header"
    CONFIGURATION = "a configuration section"
    NO_CONFIGURATION = "no configuration section"
    ELEMENT = "a section or a command"
    EOF = "the end byte"
    UNDELIMITED = "a payload of unknown length, read to the end of the input"
    DESCRIPTION = "a VM description"
    NO_DESCRIPTION = "no VM description"
    CLOSED = "the end of the input"


NEXT: Final = {
    (Phase.HEADER, Met.HEADER): Phase.CONFIGURATION,
    (Phase.CONFIGURATION, Met.CONFIGURATION): Phase.SECTIONS,
    (Phase.CONFIGURATION, Met.NO_CONFIGURATION): Phase.SECTIONS,
    (Phase.SECTIONS, Met.ELEMENT): Phase.SECTIONS,
    (Phase.SECTIONS, Met.EOF): Phase.DESCRIPTION,
    (Phase.SECTIONS, Met.UNDELIMITED): Phase.END,
    (Phase.PACKAGE, Met.ELEMENT): Phase.PACKAGE,
    (Phase.PACKAGE, Met.EOF): Phase.TRAILING,
    (Phase.PACKAGE, Met.CLOSED): Phase.END,
    (Phase.PACKAGE, Met.UNDELIMITED): Phase.END,
    (Phase.DESCRIPTION, Met.DESCRIPTION): Phase.TRAILING,
    (Phase.DESCRIPTION, Met.NO_DESCRIPTION): Phase.TRAILING,
    (Phase.TRAILING, Met.CLOSED): Phase.END,
}


class Progress:
    """The phase of one reader, and whether its channel has a configuration.

    `footers` says whether every section of the channel has a footer; None: it may have one.
    """

    def __init__(self, phase: Phase, *, footers: bool | None = None) -> None:
        self.phase = phase
        self.footers = footers
        self.configured = True

    def footer(self, *, found: bool) -> None:
        """Take the first section's footer, or that it has none, as true for all."""
        if self.configured and self.footers is None:
            self.footers = found

    def advance(self, met: Met) -> None:
        """Go to the phase that follows; KeyError for what cannot be met in this one."""
        self.phase = NEXT[self.phase, met]
        if met is Met.NO_CONFIGURATION:
            self.configured = False
