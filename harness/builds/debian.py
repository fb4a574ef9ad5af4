# SPDX-License-Identifier: Apache-2.0
"""The `debian` provider: a cached, labelled image per suite and package.

1. An image is only named when it is complete; until then it has no name and the label
   ``migmatrix.state=unfinished``, by which a later run finds and removes what a killed one left. One that lacks the
   emulator which the matrix names is complete: making it again would not help.
2. A named image is used as it is, without network, as long as the recipe that made it is today's.
3. A process that works on a suite holds its lock.
4. Which emulator of the package is meant is known before an image is made (`packages`), except of a package that
   the table does not know.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from shutil import which
from typing import IO, TYPE_CHECKING, ClassVar

from migmatrix.harness.builds.apt import debian_mirror
from migmatrix.harness.builds.facts import PreparedBuild
from migmatrix.harness.builds.packages import HELD, SUITES, known_as
from migmatrix.harness.builds.probe import held, script
from migmatrix.harness.builds.prober import container_images
from migmatrix.harness.builds.provider import Provider
from migmatrix.harness.builds.recipe import DEFAULT_PACKAGE, DebianRecipe
from migmatrix.harness.builds.spec import BuildSpec, Name, Text
from migmatrix.harness.errors import BuildError, EngineError, UnusableBuild, UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.builds.facts import BuildFacts
    from migmatrix.harness.builds.images import Images, StoredImage
    from migmatrix.harness.builds.prober import Prober

__all__ = ["REPOSITORY", "DebianImages", "DebianProvider", "DebianSpec", "Labels"]

REPOSITORY = "migmatrix/debian"
_CHUNK = 1 << 20

# apt's words, the same from bullseye to trixie.
_NO_SUITE = "does not have a Release file"
_NO_PACKAGE = "Unable to locate package "


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianSpec(BuildSpec):
    """A package of a Debian suite (`trixie`, `trixie-backports`)."""

    provider: ClassVar[str] = "debian"
    suite: Name
    package: Name = DEFAULT_PACKAGE
    binary: Text = ""  # which of the package's emulators; empty: its only one

    @property
    def recipe(self) -> DebianRecipe:
        """How its image is made on this host."""
        return DebianRecipe(self.suite, self.package, debian_mirror())


class DebianProvider(Provider[DebianSpec]):
    """Finds the image of a suite and package, or makes, probes and names one."""

    spec = DebianSpec
    contained = True

    def find(self, spec: DebianSpec, prober: Prober) -> PreparedBuild | None:
        """The build, if the engine has the image of today's recipe; UnusableBuild as `get`."""
        emulator = _emulator(spec)
        with container_images() as images:
            found = DebianImages(images, spec.recipe).find()
            return None if found is None else self._of(images, found, spec, prober, emulator)

    def get(self, spec: DebianSpec, prober: Prober) -> PreparedBuild:
        """The build; UnusableBuild when the package holds no such emulator, BuildError when it cannot be had."""
        emulator = _emulator(spec)
        recipe = spec.recipe
        with container_images() as images, prober.lock(f"debian-{recipe.tag}"):
            making = DebianImages(images, recipe)
            found = None if prober.refresh else making.find()
            return self._of(images, found or _make(making, spec, prober, emulator), spec, prober, emulator)

    def _of(
        self, images: Images, image: StoredImage, spec: DebianSpec, prober: Prober, emulator: str | None
    ) -> PreparedBuild:
        name = _only(images, image.id, spec) if emulator is None else emulator
        facts, path = prober.image(images, image.id, spec.id, name)
        return PreparedBuild(spec.id, spec.provider, self.origin(spec, facts), facts, path, image=image.id)

    def origin(self, spec: DebianSpec, facts: BuildFacts) -> str:
        """``debian SUITE PACKAGE-VERSION``."""
        return f"debian {spec.suite} {facts.package}".rstrip()


def _emulator(spec: DebianSpec) -> str | None:
    """The emulator that is meant (rule 4); empty for the default package's default, None if only the image can tell."""
    known = HELD.get(spec.package, ())
    if spec.binary:
        if known and not known_as(spec.package, spec.binary):
            problem = f"package {spec.package!r} holds no emulator {spec.binary!r}"
            raise UnusableBuild(spec.id, f"{problem}, but {' and '.join(map(repr, known))}", "binary")
        return spec.binary
    if spec.package == DEFAULT_PACKAGE:
        return ""
    return _one_of(known, spec) if known else None


def _only(images: Images, image: str, spec: DebianSpec) -> str:
    return _one_of(held(images.run_script(image, script(), "")), spec)


def _one_of(names: tuple[str, ...], spec: DebianSpec) -> str:
    if not names:
        raise UnusableBuild(
            spec.id, f"package {spec.package!r} brings no emulator (qemu-system-*)", "package"
        )
    if len(names) > 1:
        problem = f"package {spec.package!r} holds {len(names)} emulators, say which with 'binary'"
        raise UnusableBuild(spec.id, f"{problem}: {' or '.join(map(repr, names))}", "package")
    return names[0]


def _make(making: DebianImages, spec: DebianSpec, prober: Prober, emulator: str | None) -> StoredImage:
    """Make, probe and name an image; what is not named is removed."""
    prober.log(f"{spec.id}: making {making.name}")
    try:
        root, how = making.make_root()
        return _named(making, root, how, spec, prober, emulator)
    except (BuildError, UserError) as err:
        making.clean_up()
        raise _absent(spec, str(err)) or err from err
    except BaseException:
        making.clean_up()
        raise


def _absent(spec: DebianSpec, said: str) -> UnusableBuild | None:
    """What the matrix names and the mirror lacks, by apt's words; None for any other failure."""
    if _NO_SUITE in said:
        known = did_you_mean(spec.suite, SUITES)
        return UnusableBuild(spec.id, f"the mirror has no suite {spec.suite!r}: {known}", "suite")
    if f"{_NO_PACKAGE}{spec.package}'" in said:
        problem = f"suite {spec.suite!r} has no package {spec.package!r}"
        return UnusableBuild(spec.id, f"{problem}: {did_you_mean(spec.package, HELD)}", "package")
    return None


def _named(
    making: DebianImages, root: str, how: str, spec: DebianSpec, prober: Prober, emulator: str | None
) -> StoredImage:
    """The image of a root, with what its emulator says of itself on the labels where there is one (rule 1)."""
    try:
        name = _only(making.images, root, spec) if emulator is None else emulator
        facts, path = prober.probe_image(making.images, root, spec.id, name)
    except UnusableBuild:
        making.name_root(root, version="", digest="")
        raise
    image = making.name_root(root, version=facts.package, digest=facts.digest)
    prober.remember(image.id, facts, path, name)
    prober.log(f"{spec.id}: {making.name} is {facts.package}, {how}")
    return image


class Labels:
    """Keys of the labels on images of this provider. Containers inherit an image's labels."""

    STATE = "migmatrix.state"
    RECIPE = "migmatrix.recipe"
    SUITE = "migmatrix.suite"
    PACKAGE = "migmatrix.package"
    VERSION = "migmatrix.package-version"
    DIGEST = "migmatrix.digest"


@dataclass(frozen=True, slots=True)
class DebianImages:
    """Finds and makes the image of one recipe."""

    images: Images
    recipe: DebianRecipe

    @property
    def name(self) -> str:
        """Repository and tag of the finished image."""
        return f"{REPOSITORY}:{self.recipe.tag}"

    @property
    def _mark(self) -> str:
        return f"unfinished-{self.recipe.tag}"

    def find(self) -> StoredImage | None:
        """The finished image of this recipe, if the engine has it."""
        image = self.images.find(self.name)
        if image is None or image.labels.get(Labels.RECIPE) != self.recipe.digest:
            return None
        return image

    def make_root(self) -> tuple[str, str]:
        """Make an unnamed image with the package; its id and how it was made.

        BuildError when neither a base image can be had nor mmdebstrap works.
        """
        self.clean_up()
        refusal = self._base_refusal()
        if not refusal:
            try:
                return self._install_into_base(), f"installed into {self.recipe.base_image!r}"
            except EngineError as err:
                refusal = str(err)
        return self._bootstrap(refusal), f"made by mmdebstrap (no base image: {refusal})"

    def clean_up(self) -> None:
        """Remove what a killed run left of this recipe; the caller holds the lock."""
        for image in self.images.unfinished(f"{Labels.STATE}={self._mark}"):
            self.images.remove(image)

    def name_root(self, root: str, *, version: str, digest: str) -> StoredImage:
        """Give the root image its labels and name, and drop the image that had the name before."""
        before = self.images.find(self.name)
        pairs = {
            Labels.STATE: "finished",
            Labels.RECIPE: self.recipe.digest,
            Labels.SUITE: self.recipe.suite,
            Labels.PACKAGE: self.recipe.package,
            Labels.VERSION: version,
            Labels.DIGEST: digest,
        }
        text = " ".join(f'{key}="{value}"' for key, value in pairs.items())
        self.images.build(f"FROM {root}\nLABEL {text}\n", tag=self.name)
        after = self.images.get(self.name)
        if before is not None and before.id != after.id:
            self.images.remove(before.id)
        return after

    def _base_refusal(self) -> str:
        """Why there is no base image to install into; empty when there is one."""
        if self.images.find(self.recipe.base_image) is not None:
            return ""
        return self.images.pull(self.recipe.base_image)

    def _install_into_base(self) -> str:
        return self.images.build(f"{self.recipe.dockerfile()}LABEL {Labels.STATE}={self._mark}\n")

    def _bootstrap(self, refusal: str) -> str:
        if which("mmdebstrap") is None:
            problem = f"no base image {self.recipe.base_image!r} ({refusal}) and no mmdebstrap"
            raise UserError(f"cannot make {self.name!r}: {problem}; run scripts/install-engine")
        return self.images.import_root(_output(self.recipe.mmdebstrap_argv()), f"{Labels.STATE}={self._mark}")


def _output(argv: list[str]) -> Iterator[bytes]:
    """Standard output of a command in chunks; BuildError at the end when the command failed."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            if process.stdout is None:
                raise BuildError(f"{argv[0]!r} has no output")
            while chunk := process.stdout.read(_CHUNK):
                yield chunk
            status = process.wait()
        finally:
            process.terminate()
        if status != 0:
            raise BuildError(f"{argv[0]!r} failed with status {status}: {_last_line(errors)}")


def _last_line(errors: IO[bytes]) -> str:
    """The line that says why: the first that mmdebstrap or apt marks as an error, else the last."""
    errors.seek(0)
    lines = errors.read().decode(errors="replace").split("\n")
    marked = [line for line in lines if line.startswith("E: ")]
    return repr(marked[0] if marked else ([line for line in lines if line] or ["it said nothing"])[-1])
