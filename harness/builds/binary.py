# SPDX-License-Identifier: Apache-2.0
"""The `binary` provider: an emulator on this host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from migmatrix.harness.builds.facts import PreparedBuild
from migmatrix.harness.builds.loadable import why_not
from migmatrix.harness.builds.provider import Provider
from migmatrix.harness.builds.spec import BuildSpec, FileName
from migmatrix.harness.errors import UnusableBuild

if TYPE_CHECKING:
    from migmatrix.harness.builds.facts import BuildFacts
    from migmatrix.harness.builds.prober import Prober

__all__ = ["BinaryProvider", "BinarySpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BinarySpec(BuildSpec):
    """An emulator on this host; a relative path is relative to the matrix file."""

    provider: ClassVar[str] = "binary"
    path: FileName


class BinaryProvider(Provider[BinarySpec]):
    """Uses the file as it is, and probes it each time: what is at a path may change."""

    spec = BinarySpec
    contained = False

    def find(self, spec: BinarySpec, prober: Prober) -> PreparedBuild | None:
        """The build, if its file is there."""
        return self.get(spec, prober) if Path(spec.path).is_file() else None

    def get(self, spec: BinarySpec, prober: Prober) -> PreparedBuild:
        """The build; UnusableBuild when there is no such emulator."""
        path = Path(spec.path).absolute()
        if not path.is_file():
            raise UnusableBuild(spec.id, f"there is no emulator {spec.path!r}", "path")
        if not os.access(path, os.X_OK):
            raise UnusableBuild(spec.id, f"the emulator {spec.path!r} is not executable", "path")
        try:
            facts, emulator = prober.binary(path, spec.id, spec.path)
        except UnusableBuild as err:
            if reason := why_not(path):
                raise UnusableBuild(spec.id, f"{spec.path!r} cannot run here: {reason}", "path") from err
            raise
        return PreparedBuild(spec.id, spec.provider, self.origin(spec, facts), facts, emulator)

    def origin(self, spec: BinarySpec, facts: BuildFacts) -> str:
        """``binary PATH``."""
        del facts
        return f"binary {spec.path}"
