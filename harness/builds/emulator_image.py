# SPDX-License-Identifier: Apache-2.0
"""The reference emulator in a container: a bundle in an image with a Python of Debian's.

The Python is made as the `debian` provider makes its roots, once per suite; a bundle adds one small layer to it,
with the byte code of that Python. Nothing here needs a network once the Python is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.harness.builds.apt import debian_mirror
from migmatrix.harness.builds.bundle import launcher
from migmatrix.harness.builds.cachefiles import locked
from migmatrix.harness.builds.debian import DebianImages, Labels
from migmatrix.harness.builds.recipe import DebianRecipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from migmatrix.harness.builds.bundle import Bundle
    from migmatrix.harness.builds.images import Images, StoredImage

__all__ = ["EmulatorImages"]

REPOSITORY = "migmatrix/emulator"
_SUITE = "trixie"
_PACKAGE = "python3"
_PYTHON = "/usr/bin/python3"
_INNER = "/opt/migmatrix"
_FORMAT = "1"  # of what this file adds to a bundle


@dataclass(frozen=True, slots=True)
class EmulatorImages:
    """Finds and makes the image of one bundle; `cache` holds the locks."""

    images: Images
    bundle: Bundle
    cache: Path
    log: Callable[[str], None]

    @property
    def name(self) -> str:
        """Repository and tag of the image."""
        return f"{REPOSITORY}:{self.bundle.digest[:16]}"

    def binary(self, release: str) -> str:
        """What is started for a release inside the image."""
        return f"{_INNER}/bin/qemu-{release}"

    def find(self) -> StoredImage | None:
        """The image, if the engine has it."""
        image = self.images.find(self.name)
        return image if image is not None and image.labels.get(Labels.DIGEST) == self._digest else None

    def get(self) -> StoredImage:
        """The image, made if need be; EngineError or BuildError when that fails."""
        with locked(self.cache / "locks" / "emulator-image.lock"):
            return self.find() or self._make()

    @property
    def _digest(self) -> str:
        return f"{_FORMAT}-{self.bundle.digest}"

    def _make(self) -> StoredImage:
        self.log(f"making {self.name}")
        id_ = self.images.build(self._build_file(self._python()), tag=self.name, files=self._files())
        return self.images.get(id_)

    def _build_file(self, python: str) -> str:
        compile_all = f"{_PYTHON} -m compileall -q --invalidation-mode unchecked-hash {_INNER}/code"
        labels = f'{Labels.STATE}="finished" {Labels.DIGEST}="{self._digest}"'
        return f"FROM {python}\nCOPY bundle {_INNER}\nRUN {compile_all}\nLABEL {labels}\n"

    def _files(self) -> Iterator[tuple[str, bytes]]:
        for name, content in self.bundle.files():
            yield f"bundle/{name}", content
        for release in self.bundle.digests:
            yield f"bundle/bin/qemu-{release}", launcher(_PYTHON, release).encode()

    def _python(self) -> str:
        """The id of the image with the Python."""
        recipe = DebianRecipe(_SUITE, _PACKAGE, debian_mirror(), named_extras=())
        with locked(self.cache / "locks" / f"debian-{recipe.tag}.lock"):
            provider = DebianImages(self.images, recipe)
            return (provider.find() or self._make_python(provider)).id

    def _make_python(self, provider: DebianImages) -> StoredImage:
        self.log(f"making {provider.name}")
        try:
            root, how = provider.make_root()
            image = provider.name_root(root, version="", digest="")
        except BaseException:
            provider.clean_up()
            raise
        self.log(f"{provider.name} is {how}")
        return image
