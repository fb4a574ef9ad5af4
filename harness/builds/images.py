# SPDX-License-Identifier: Apache-2.0
"""The border to the container engine: images in, probe output out; SDK errors become `EngineError`.

Start at `Images`. DOCKER_HOST is honoured (Docker, or Podman's compatible socket). Knows nothing of
suites or builds; the engines that run emulators are elsewhere (`harness/engines`).
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import docker.errors
import requests.exceptions
from docker.types import LogConfig
from docker.utils import parse_repository_tag

from migmatrix.harness.builds.bounded import LONGEST, SECONDS
from migmatrix.harness.builds.client import new_client
from migmatrix.harness.errors import BuildError, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from docker.models.containers import Container
    from docker.models.images import Image

__all__ = ["Images", "StoredImage"]

# Imports and installations answer only when they are done.
_TIMEOUT_SECONDS = 600
_PULL_TIMEOUT_SECONDS = 120
_MAX_LINKS = 8
_CHUNK = 1 << 20
# What a probe may use, as emulators of a run may; a log holds up to six bytes for each that is printed.
_MEMORY_LIMIT = "4g"
_PIDS_LIMIT = 1024
_LOG_SIZE = "512m"
# Of one file of an image.
_LARGEST_FILE = 1 << 30


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that the engine has: its id (``sha256:...``), its labels, and a digest of its files and environment.

    The digest is the engine's word, which no image can forge, and the same wherever the image is.
    """

    id: str
    labels: Mapping[str, str]
    content: str = ""


@contextmanager
def _border(action: str) -> Iterator[None]:
    """Translate what the SDK and its HTTP client raise."""
    try:
        yield
    except docker.errors.DockerException as err:
        raise EngineError(f"cannot {action}: {_reason(err)}") from err
    except requests.exceptions.RequestException as err:
        raise EngineError(f"cannot {action}: the container engine does not answer ({err})") from err


def _bordered(chunks: Iterator[bytes], action: str) -> Iterator[bytes]:
    with _border(action):
        yield from chunks


def _reason(err: docker.errors.DockerException) -> str:
    text = err.explanation if isinstance(err, docker.errors.APIError) and err.explanation else str(err)
    return " ".join(str(text).split())


class Images:
    """A connection to the engine, for use in a `with` statement; not shared between threads."""

    def __init__(self) -> None:
        self._client = new_client(_TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def find(self, reference: str) -> StoredImage | None:
        """The image of that name or id, or None; nothing is fetched."""
        with _border(f"look for the image {reference!r}"):
            try:
                return _stored(self._client.images.get(reference))
            except docker.errors.ImageNotFound:
                return None

    def get(self, reference: str) -> StoredImage:
        """The same of an image that has just been made; EngineError when it is gone."""
        image = self.find(reference)
        if image is None:
            raise EngineError(f"the image {reference!r} is gone right after it was made")
        return image

    def pull(self, reference: str) -> str:
        """Fetch an image; the reason when that cannot be done, else an empty string."""
        repository, tag = parse_repository_tag(reference)
        client = new_client(_PULL_TIMEOUT_SECONDS)
        try:
            client.images.pull(repository, tag=tag or "latest")
        except docker.errors.DockerException as err:
            return _reason(err)
        except requests.exceptions.RequestException:
            return "no answer in time"
        finally:
            client.close()
        return ""

    def import_root(self, tar: Iterator[bytes], label: str) -> str:
        """Make an image of a root file system; its id. An exception of `tar` leaves nothing behind."""
        with _border("import a root file system"):
            # An iterator has no length: it goes out in chunks, and a broken-off one is refused.
            answer = self._client.api.import_image_from_data(tar, changes=[f"LABEL {label}"])
        status = json.loads(answer.strip().splitlines()[-1])
        if "status" not in status:
            raise EngineError(f"cannot import a root file system: {status.get('error', status)}")
        return str(status["status"])

    def name_of(self, image: str) -> str:
        """The first name of an image; its id where it has none."""
        with _border(f"look for the image {image!r}"):
            return _name(self._client.images.get(image))

    def save(self, image: str) -> tuple[str, Iterator[bytes]]:
        """The first name of an image, its id where it has none, and its tar file, which keeps that name."""
        with _border(f"save the image {image!r}"):
            found = self._client.images.get(image)
            named: Iterator[bytes] = found.save(_CHUNK, named=bool(found.tags))
        return _name(found), _bordered(named, f"save the image {image!r}")

    def load(self, tar: Iterator[bytes]) -> list[str]:
        """Load a tar file as `save` gives it; ``NAME ID`` of each image."""
        with _border("load an image"):
            body: Any = tar  # the stubs know only files; an iterator goes out in chunks
            loaded = self._client.images.load(body)
            return [f"{(image.tags or ['(no name)'])[0]} {image.id}" for image in loaded]

    def build(self, dockerfile: str, tag: str | None = None, files: Iterable[tuple[str, bytes]] = ()) -> str:
        """Make an image by a build file, name it `tag`, and return its id; `files` are what it may copy.

        Those in a directory `bin` are executable. Steps that need a network have it only without `files`.
        """
        context = _context([("Dockerfile", dockerfile.encode()), *files])
        with _border("build an image"):
            image, _ = self._client.images.build(
                fileobj=context,
                custom_context=True,
                tag=tag,
                rm=True,
                forcerm=True,
                network_mode="none" if files else None,
            )
        return str(image.id)

    def unfinished(self, label: str) -> list[str]:
        """Ids of unnamed images with that label (``key=value``) which no other image is made from."""
        with _border("list images"):
            found = self._client.images.list(filters={"label": label, "dangling": True})
        return [str(image.id) for image in found]

    def remove(self, image: str) -> None:
        """Remove an image unless something uses it."""
        with suppress(docker.errors.ImageNotFound), _border("remove an image"):
            try:
                self._client.images.remove(image)
            except docker.errors.APIError as err:
                if err.status_code != requests.codes.conflict:
                    raise

    def run_script(self, image: str, text: str, argument: str) -> str:
        """Run a shell script in a locked-down container; all it printed, both streams in one.

        BuildError when it takes over `SECONDS` or prints over `LONGEST` bytes.
        """
        command = ["-c", text, "probe", argument]
        with (
            _border(f"run the probe in the image {image!r}"),
            self._container(image, command, entrypoint=["/bin/sh"]) as container,
        ):
            container.start()
            _wait(container, image)
            return _printed(container, image).decode(errors="replace")

    def hash_files(self, image: str, paths: list[str]) -> dict[str, str]:
        """SHA-256 of files of an image, read through the engine: for images without `sha256sum`."""
        with _border(f"read files of the image {image!r}"), self._container(image, ["true"]) as container:
            return {path: hashlib.sha256(_read(container, path)).hexdigest() for path in paths}

    @contextmanager
    def _container(self, image: str, command: list[str], **options: Any) -> Iterator[Container]:
        container = self._client.containers.create(
            image,
            command,
            labels={"migmatrix.probe": "1"},
            user="65534:65534",
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            # Readable whatever the engine's default is; two files, of which the second is begun when one is full.
            log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": _LOG_SIZE, "max-file": "2"}),
            mem_limit=_MEMORY_LIMIT,
            pids_limit=_PIDS_LIMIT,
            **options,
        )
        try:
            yield container
        finally:
            container.remove(force=True)


def _context(files: Iterable[tuple[str, bytes]]) -> io.BytesIO:
    """A tar file; all times are zero, so that equal content is equal."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o755 if posixpath.basename(posixpath.dirname(name)) == "bin" else 0o644
            tar.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def _name(image: Image) -> str:
    """The first name of an image; its id where it has none."""
    return (image.tags or [str(image.id)])[0]


def _stored(image: Image) -> StoredImage:
    layers, environment = image.attrs["RootFS"]["Layers"], image.attrs["Config"].get("Env") or []
    content = json.dumps([layers, sorted(environment)])
    return StoredImage(str(image.id), image.labels or {}, hashlib.sha256(content.encode()).hexdigest())


def _wait(container: Container, image: str) -> None:
    """Wait for a container's end; BuildError when it does not come in time."""
    try:
        container.wait(timeout=SECONDS)
    except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError) as err:
        container.reload()  # EngineError when it is the engine that is gone
        if container.status != "running":
            raise
        raise BuildError(f"the probe of the image {image!r} did not end within {SECONDS:g} s") from err


def _printed(container: Container, image: str) -> bytes:
    data = bytearray()
    for chunk in container.logs(stdout=True, stderr=True, stream=True, follow=False):
        data += chunk
        if len(data) > LONGEST:
            raise BuildError(f"the probe of the image {image!r} printed over {LONGEST} bytes")
    return bytes(data)


def _read(container: Container, path: str) -> bytes:
    """The content of a file; the engine hands out links as links, so they are followed here."""
    for _ in range(_MAX_LINKS):
        stream, stat = container.get_archive(path)
        if stat is None or stat["size"] > _LARGEST_FILE:
            break
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            member = tar.next()
            if member is None:
                break
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                return content.read()
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
    raise EngineError(f"cannot read the file {path!r} of an image")
