# SPDX-License-Identifier: Apache-2.0
"""The `emulator` provider: a release of the reference emulator, out of a bundle (`bundle.py`).

It runs as a process or, from the same bundle, in a container (`emulator_image.py`), as the matrix wants it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from migmatrix.harness.builds.bundle import Bundles, Sources
from migmatrix.harness.builds.emulator_image import EmulatorImages
from migmatrix.harness.builds.facts import PreparedBuild
from migmatrix.harness.builds.prober import container_images
from migmatrix.harness.builds.provider import Provider
from migmatrix.harness.builds.spec import BuildSpec, Text
from migmatrix.harness.errors import UnusableBuild

if TYPE_CHECKING:
    from migmatrix.harness.builds.bundle import Bundle
    from migmatrix.harness.builds.facts import BuildFacts
    from migmatrix.harness.builds.prober import Prober

__all__ = ["EmulatorProvider", "EmulatorSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorSpec(BuildSpec):
    """A release of the reference emulator; `contained` when it runs in a container."""

    provider: ClassVar[str] = "emulator"
    release: Text
    contained: bool = False

    def placed(self, *, contained: bool) -> Self:
        """The same release, in a container or as a process."""
        return replace(self, contained=contained)


class EmulatorProvider(Provider[EmulatorSpec]):
    """Takes releases from one bundle, which is made when the emulator's sources have changed."""

    spec = EmulatorSpec
    contained = None
    reference = True

    def find(self, spec: EmulatorSpec, prober: Prober) -> PreparedBuild | None:
        """The build, if bundle, probe and, where one is wanted, image are there."""
        bundle = _bundles(prober).find()
        if bundle is None or prober.probes.get(bundle.digests.get(spec.release, "")) is None:
            return None
        if spec.contained:
            with container_images() as images:
                if EmulatorImages(images, bundle, prober.cache, prober.log).find() is None:
                    return None
        return self._of(bundle, spec, prober)

    def get(self, spec: EmulatorSpec, prober: Prober) -> PreparedBuild:
        """The build; UnusableBuild for a release that the emulator does not have."""
        return self._of(_bundles(prober).get(), spec, prober)

    def _of(self, bundle: Bundle, spec: EmulatorSpec, prober: Prober) -> PreparedBuild:
        digest = bundle.digests.get(spec.release)
        if digest is None:
            known = ", ".join(bundle.digests)
            raise UnusableBuild(spec.id, f"the reference emulator has no release {spec.release!r}: {known}")
        binary = bundle.binary(spec.release)
        facts = prober.release(binary, spec.id, digest)
        supervisor = str(bundle.forkserver)
        origin = self.origin(spec, facts)
        build = PreparedBuild(spec.id, spec.provider, origin, facts, str(binary), supervisor=supervisor)
        return _contained(build, spec, bundle, prober) if spec.contained else build

    def origin(self, spec: EmulatorSpec, facts: BuildFacts) -> str:
        """``reference emulator RELEASE``."""
        del facts
        return f"reference emulator {spec.release}"


def _bundles(prober: Prober) -> Bundles:
    return Bundles(prober.cache, Sources.installed(), prober.log)


def _contained(build: PreparedBuild, spec: EmulatorSpec, bundle: Bundle, prober: Prober) -> PreparedBuild:
    with container_images() as images:
        inside = EmulatorImages(images, bundle, prober.cache, prober.log)
        image = inside.get()
    return replace(build, binary=inside.binary(spec.release), image=image.id, supervisor="")
