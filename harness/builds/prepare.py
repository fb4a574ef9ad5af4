"""Gets builds ready: `prepare` finds or makes what each build is run from and probes it once.

Builds that name the same thing (suite and package, image, or path) share one image and one probe.
Providers: `debian` (debian.py), `emulator` (emulator.py), `image` and `binary` (here). Nothing here knows matrices or plans.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from migmatrix.harness.builds.apt import debian_mirror
from migmatrix.harness.builds.cachefiles import locked, write_atomically
from migmatrix.harness.builds.debian import DebianImages
from migmatrix.harness.builds.emulator import Bundle, Bundles, Sources
from migmatrix.harness.builds.emulator_image import EmulatorImages
from migmatrix.harness.builds.facts import BuildFacts, PreparedBuild
from migmatrix.harness.builds.probe import NO_HASH, ProbeCache, ProbeOutput, files_digest, parse, script
from migmatrix.harness.builds.recipe import DebianRecipe
from migmatrix.harness.builds.spec import BuildSpec, Provider
from migmatrix.harness.errors import BuildError, UnusableBuild

if TYPE_CHECKING:
    from migmatrix.harness.builds.images import Images, StoredImage

__all__ = ["lookup", "prepare"]

Log = Callable[[str], None]

_DEFAULT_BINARY = "qemu-system-x86_64"
_PROBE_SECONDS = 180
# Making roots is partly waiting for the mirror and partly work for one processor.
_AT_ONCE = 2


def prepare(
    specs: Mapping[str, BuildSpec], *, cache: Path, refresh: bool = False, log: Log = print
) -> dict[str, PreparedBuild]:
    """Make every build ready to start, in the order of `specs`.

    What is ready is not made again and needs no network; `refresh` makes the images of the `debian`
    provider anew and fetches those of `image` again. Errors: UnusableBuild for what the matrix names and
    is not there, EngineError for the engine, BuildError when a package cannot be fetched.
    """
    session = _Session(cache, log, refresh)
    sources = _sources(specs)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ready = dict(zip(sources, pool.map(session.prepare, sources.values()), strict=True))
    return {id_: _for_build(ready[_source(spec)], spec) for id_, spec in specs.items()}


def lookup(
    specs: Mapping[str, BuildSpec], *, cache: Path, log: Log = print
) -> dict[str, PreparedBuild | None]:
    """What is ready already, None for what is not; makes and fetches nothing."""
    session = _Session(cache, log)
    found = {source: session.lookup(spec) for source, spec in _sources(specs).items()}
    return {
        id_: None if (ready := found[_source(spec)]) is None else _for_build(ready, spec)
        for id_, spec in specs.items()
    }


def _source(spec: BuildSpec) -> BuildSpec:
    """What the build is made from: equal for builds that share an image and a probe."""
    return replace(spec, id="", args=())


def _sources(specs: Mapping[str, BuildSpec]) -> dict[BuildSpec, BuildSpec]:
    """Each source and the first build that names it."""
    found: dict[BuildSpec, BuildSpec] = {}
    for spec in specs.values():
        found.setdefault(_source(spec), spec)
    return found


def _for_build(ready: PreparedBuild, spec: BuildSpec) -> PreparedBuild:
    return replace(ready, id=spec.id, args=spec.args)


@dataclass(frozen=True, slots=True)
class _Identity:
    """What an image holds, kept by the image's id: an id never changes its content."""

    emulator: str
    digest: str


_IDENTITY = TypeAdapter(_Identity)


@dataclass(frozen=True, slots=True)
class _Session:
    """One call of `prepare` or `lookup`."""

    cache: Path
    log: Log
    refresh: bool = False

    def prepare(self, spec: BuildSpec) -> PreparedBuild:
        match spec.provider:
            case Provider.DEBIAN:
                return self._debian(spec)
            case Provider.IMAGE:
                return self._image(spec)
            case Provider.BINARY:
                return self._binary(spec)
            case Provider.EMULATOR:
                return self._emulator(spec, self._bundles.get())

    def lookup(self, spec: BuildSpec) -> PreparedBuild | None:
        match spec.provider:
            case Provider.DEBIAN | Provider.IMAGE:
                return self._lookup_image(spec)
            case Provider.BINARY:
                return self._binary(spec) if Path(spec.path).is_file() else None
            case Provider.EMULATOR:
                return self._lookup_emulator(spec)

    def _lookup_image(self, spec: BuildSpec) -> PreparedBuild | None:
        with _images() as images:
            debian = spec.provider is Provider.DEBIAN
            found = DebianImages(images, _recipe(spec)).find() if debian else images.find(spec.image)
            return None if found is None else self._of_image(images, found, spec)

    def _debian(self, spec: BuildSpec) -> PreparedBuild:
        recipe = _recipe(spec)
        lock = self.cache / "locks" / f"debian-{recipe.tag}.lock"
        with _images() as images, locked(lock):
            provider = DebianImages(images, recipe)
            found = None if self.refresh else provider.find()
            return self._of_image(images, found or self._make(images, provider, spec), spec)

    def _make(self, images: Images, provider: DebianImages, spec: BuildSpec) -> StoredImage:
        """Make, probe and name an image; what is not named is removed."""
        self.log(f"{spec.id}: making {provider.name}")
        try:
            root, how = provider.make_root()
            facts, emulator = self._probe(images, root, spec)
            image = provider.name_root(root, version=facts.package, digest=facts.digest)
        except BaseException:
            provider.clean_up()
            raise
        self._remember(image.id, spec, _Identity(emulator, facts.digest))
        self.log(f"{spec.id}: {provider.name} is {facts.package}, {how}")
        return image

    def _image(self, spec: BuildSpec) -> PreparedBuild:
        with _images() as images:
            found = None if self.refresh else images.find(spec.image)
            if found is None:
                refusal = images.pull(spec.image)
                found = images.find(spec.image)
            if found is None:
                raise UnusableBuild(spec.id, f"there is no image {spec.image!r} ({refusal})")
            return self._of_image(images, found, spec)

    def _of_image(self, images: Images, image: StoredImage, spec: BuildSpec) -> PreparedBuild:
        facts, emulator = self._known(image.id, spec) or self._probe(images, image.id, spec)
        name = f"debian {spec.suite}" if spec.provider is Provider.DEBIAN else f"image {spec.image}"
        origin = f"{name} {facts.package}".rstrip()
        return PreparedBuild(spec.id, spec.provider, origin, facts, emulator, image=image.id)

    def _binary(self, spec: BuildSpec) -> PreparedBuild:
        path = Path(spec.path).absolute()
        if not path.is_file():
            raise UnusableBuild(spec.id, f"there is no emulator {spec.path!r}")
        if not os.access(path, os.X_OK):
            raise UnusableBuild(spec.id, f"the emulator {spec.path!r} is not executable")
        output = parse(_run_here(path), spec.id, spec.path)
        facts = self._facts(output, output.files)
        return PreparedBuild(spec.id, spec.provider, f"binary {spec.path}", facts, output.emulator)

    def _emulator(self, spec: BuildSpec, bundle: Bundle) -> PreparedBuild:
        digest = bundle.digests.get(spec.release)
        if digest is None:
            known = ", ".join(bundle.digests)
            raise UnusableBuild(spec.id, f"the reference emulator has no release {spec.release!r}: {known}")
        binary = bundle.binary(spec.release)
        facts = self._probes.get(digest)
        if facts is None:
            facts = parse(_run_here(binary), spec.id, str(binary)).facts(digest)
            self._probes.put(facts)
        origin = f"reference emulator {spec.release}"
        forkserver = str(bundle.forkserver)
        build = PreparedBuild(spec.id, spec.provider, origin, facts, str(binary), supervisor=forkserver)
        return self._contained(build, spec, bundle) if spec.contained else build

    def _contained(self, build: PreparedBuild, spec: BuildSpec, bundle: Bundle) -> PreparedBuild:
        with _images() as images:
            provider = EmulatorImages(images, bundle, self.cache, self.log)
            image = provider.get()
        return replace(build, binary=provider.binary(spec.release), image=image.id, supervisor="")

    def _lookup_emulator(self, spec: BuildSpec) -> PreparedBuild | None:
        bundle = self._bundles.find()
        if bundle is None or self._probes.get(bundle.digests.get(spec.release, "")) is None:
            return None
        if spec.contained:
            with _images() as images:
                if EmulatorImages(images, bundle, self.cache, self.log).find() is None:
                    return None
        return self._emulator(spec, bundle)

    @property
    def _bundles(self) -> Bundles:
        return Bundles(self.cache, Sources.installed())

    def _probe(self, images: Images, image: str, spec: BuildSpec) -> tuple[BuildFacts, str]:
        """Run the probe in the image and keep what it said."""
        output = parse(
            images.run_script(image, script(), spec.binary or _DEFAULT_BINARY),
            spec.id,
            spec.binary or _DEFAULT_BINARY,
        )
        hashes = output.files
        if NO_HASH in hashes.values():
            hashes = images.hash_files(image, sorted(hashes))
        facts = self._facts(output, hashes)
        self._remember(image, spec, _Identity(output.emulator, facts.digest))
        return facts, output.emulator

    def _facts(self, output: ProbeOutput, hashes: Mapping[str, str]) -> BuildFacts:
        digest = files_digest(hashes)
        facts = self._probes.get(digest)
        if facts is None:
            facts = output.facts(digest)
            self._probes.put(facts)
        return facts

    def _known(self, image: str, spec: BuildSpec) -> tuple[BuildFacts, str] | None:
        """What is kept of an image, if both its identity and the probe are there and sound."""
        path = self._identity_path(image, spec)
        try:
            identity = _IDENTITY.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            self.log(f"image cache entry {path.name!r} is damaged, probing again")
            return None
        facts = self._probes.get(identity.digest)
        return None if facts is None else (facts, identity.emulator)

    def _remember(self, image: str, spec: BuildSpec, identity: _Identity) -> None:
        write_atomically(self._identity_path(image, spec), _IDENTITY.dump_json(identity))

    def _identity_path(self, image: str, spec: BuildSpec) -> Path:
        key = hashlib.sha256(f"{image} {spec.binary}".encode()).hexdigest()
        return self.cache / "images" / f"{key}.json"

    @property
    def _probes(self) -> ProbeCache:
        return ProbeCache(self.cache / "probes", self.log)


def _recipe(spec: BuildSpec) -> DebianRecipe:
    return DebianRecipe(spec.suite, spec.package, debian_mirror())


def _run_here(emulator: Path) -> str:
    """The probe's output on this host."""
    argv = ["sh", "-c", script(), "probe", str(emulator)]
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise BuildError(f"the emulator {str(emulator)!r} did not answer the probe in time") from err
    return done.stdout.decode(errors="replace")


def _images() -> Images:
    """The container engine's images; its SDK takes a fifth of a second to import, and not every matrix needs it."""
    from migmatrix.harness.builds.images import Images  # noqa: PLC0415 - see above

    return Images()
