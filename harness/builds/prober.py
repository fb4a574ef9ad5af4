# SPDX-License-Identifier: Apache-2.0
"""Probes builds and keeps what they said: the part that all providers share.

1. What an emulator says of itself is kept by the digest of its files (`probe.ProbeCache`).
2. What an image holds is kept by the image's id, which never changes its content: a known image needs no container.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from migmatrix.harness.builds.bounded import printed
from migmatrix.harness.builds.cachefiles import locked, write_atomically
from migmatrix.harness.builds.probe import NO_HASH, Log, ProbeCache, ProbeOutput, files_digest, parse, script

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from migmatrix.harness.builds.facts import BuildFacts
    from migmatrix.harness.builds.images import Images

__all__ = ["DEFAULT_BINARY", "Prober", "container_images"]

DEFAULT_BINARY = "qemu-system-x86_64"  # the emulator of an image that names none


@dataclass(frozen=True, slots=True)
class _Identity:
    """What an image holds (rule 2)."""

    emulator: str
    digest: str


_IDENTITY = TypeAdapter(_Identity)


@dataclass(frozen=True, slots=True)
class Prober:
    """One call of `prepare` or `lookup`: its cache, its log, and whether images are to be made or fetched anew."""

    cache: Path
    log: Log
    refresh: bool = False

    @property
    def probes(self) -> ProbeCache:
        """What emulators said of themselves, by digest."""
        return ProbeCache(self.cache / "probes", self.log)

    def lock(self, name: str) -> AbstractContextManager[None]:
        """The lock on making something of that name, among all processes that share the cache."""
        return locked(self.cache / "locks" / f"{name}.lock")

    def binary(self, path: Path, build: str, named: str) -> tuple[BuildFacts, str]:
        """What the emulator at `path`, which the matrix calls `named`, says of itself, and its resolved path."""
        output = parse(_run_here(path), build, named)
        return self._facts(output, output.files), output.emulator

    def release(self, path: Path, build: str, digest: str) -> BuildFacts:
        """What a release of the reference emulator says of itself, probed once per digest."""
        facts = self.probes.get(digest)
        if facts is None:
            facts = parse(_run_here(path), build, str(path)).facts(digest)
            self.probes.put(facts)
        return facts

    def image(
        self, images: Images, image: str, build: str, binary: str = "", content: str = ""
    ) -> tuple[BuildFacts, str]:
        """What the emulator of an image (by id) says of itself, and its path; probed once per image and `binary`.

        `content` becomes part of the identity: of an image that others made, the engine's digest of all that it holds.
        """
        return self._known(image, binary, content) or self.probe_image(images, image, build, binary, content)

    def probe_image(
        self, images: Images, image: str, build: str, binary: str = "", content: str = ""
    ) -> tuple[BuildFacts, str]:
        """Run the probe in an image and keep what it said."""
        name = binary or DEFAULT_BINARY
        output = parse(images.run_script(image, script(), name), build, name)
        hashes = output.files
        if NO_HASH in hashes.values():
            hashes = images.hash_files(image, sorted(hashes))
        facts = self._facts(output, hashes, content)
        self.remember(image, facts, output.emulator, binary, content)
        return facts, output.emulator

    def remember(
        self, image: str, facts: BuildFacts, emulator: str, binary: str = "", content: str = ""
    ) -> None:
        """Keep what an image holds."""
        identity = _Identity(emulator, facts.digest)
        write_atomically(self._identity_path(image, binary, content), _IDENTITY.dump_json(identity))

    def _facts(self, output: ProbeOutput, hashes: Mapping[str, str], content: str = "") -> BuildFacts:
        digest = files_digest({**hashes, **({"": content} if content else {})})
        facts = self.probes.get(digest)
        if facts is None:
            facts = output.facts(digest)
            self.probes.put(facts)
        return facts

    def _known(self, image: str, binary: str, content: str) -> tuple[BuildFacts, str] | None:
        """What is kept of an image, if both its identity and the probe are there and sound."""
        path = self._identity_path(image, binary, content)
        try:
            identity = _IDENTITY.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            self.log(f"image cache entry {path.name!r} is damaged, probing again")
            return None
        facts = self.probes.get(identity.digest)
        return None if facts is None else (facts, identity.emulator)

    def _identity_path(self, image: str, binary: str, content: str) -> Path:
        name = f"{image} {binary}" + (f" {content}" if content else "")
        key = hashlib.sha256(name.encode()).hexdigest()
        return self.cache / "images" / f"{key}.json"


def _run_here(emulator: Path) -> str:
    """The probe's output on this host."""
    argv = ["sh", "-c", script(), "probe", str(emulator)]
    return printed(argv, f"the probe of the emulator {str(emulator)!r}", errors=True)


def container_images() -> Images:
    """The container engine's images; its SDK takes a fifth of a second to import, and not every matrix needs it."""
    from migmatrix.harness.builds.images import Images  # noqa: PLC0415 - see above

    return Images()
