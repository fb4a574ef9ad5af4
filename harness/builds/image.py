# SPDX-License-Identifier: Apache-2.0
"""The `image` provider: an emulator inside an existing container image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from migmatrix.harness.builds.facts import PreparedBuild
from migmatrix.harness.builds.prober import container_images
from migmatrix.harness.builds.provider import Provider
from migmatrix.harness.builds.spec import BuildSpec, Text
from migmatrix.harness.errors import UnusableBuild

if TYPE_CHECKING:
    from migmatrix.harness.builds.facts import BuildFacts
    from migmatrix.harness.builds.images import Images, StoredImage
    from migmatrix.harness.builds.prober import Prober

__all__ = ["ImageProvider", "ImageSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec(BuildSpec):
    """An emulator inside a container image; `binary` is its path or name there, empty for the default."""

    provider: ClassVar[str] = "image"
    image: Text
    binary: Text = ""


class ImageProvider(Provider[ImageSpec]):
    """Uses the image that the engine has, and pulls it where it has none or another is wanted."""

    spec = ImageSpec
    contained = True

    def find(self, spec: ImageSpec, prober: Prober) -> PreparedBuild | None:
        """The build, if the engine has the image."""
        with container_images() as images:
            found = images.find(spec.image)
            return None if found is None else self._of(images, found, spec, prober)

    def get(self, spec: ImageSpec, prober: Prober) -> PreparedBuild:
        """The build; UnusableBuild when the engine neither has nor gets the image."""
        with container_images() as images:
            found = None if prober.refresh else images.find(spec.image)
            if found is None:
                refusal = images.pull(spec.image)
                found = images.find(spec.image)
            if found is None:
                raise UnusableBuild(spec.id, f"there is no image {spec.image!r} ({refusal})")
            return self._of(images, found, spec, prober)

    def _of(self, images: Images, image: StoredImage, spec: ImageSpec, prober: Prober) -> PreparedBuild:
        facts, emulator = prober.image(images, image.id, spec.id, spec.binary, image.content)
        return PreparedBuild(
            spec.id, spec.provider, self.origin(spec, facts), facts, emulator, image=image.id
        )

    def origin(self, spec: ImageSpec, facts: BuildFacts) -> str:
        """``image NAME PACKAGE``, the package where the emulator says it."""
        return f"image {spec.image} {facts.package}".rstrip()
