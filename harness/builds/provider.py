# SPDX-License-Identifier: Apache-2.0
"""What a provider is to the rest: the Protocol that each one implements in a file of its own, and its table.

A new provider is one file with its spec and its `Provider`, and one line of `providers.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from migmatrix.harness.builds.spec import BuildSpec

if TYPE_CHECKING:
    from migmatrix.harness.builds.facts import BuildFacts, PreparedBuild
    from migmatrix.harness.builds.prober import Prober

__all__ = ["Provider"]

S = TypeVar("S", bound=BuildSpec)


class Provider(Protocol[S]):
    """Where the emulators of some builds come from.

    `spec` is the record of such a build. `contained` says whether its emulators run in containers, None where that
    is open (`BuildSpec.placed`). `reference` says that they are the reference emulator, which has options of its own.
    """

    spec: type[S]
    contained: ClassVar[bool | None]
    reference: ClassVar[bool] = False

    def find(self, spec: S, prober: Prober) -> PreparedBuild | None:
        """The build as it is, None when it is not ready; makes and fetches nothing."""

    def get(self, spec: S, prober: Prober) -> PreparedBuild:
        """The build, made or fetched if need be.

        UnusableBuild for what the matrix names and is not there, EngineError for the container engine, BuildError
        for what cannot be made.
        """

    def origin(self, spec: S, facts: BuildFacts) -> str:
        """Where the build came from, for people: ``debian trixie-backports 1:11.1.0+ds-1``."""
