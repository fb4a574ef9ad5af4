# SPDX-License-Identifier: Apache-2.0
"""Images of builds as files, so that another engine need not make them: `export_images`, `import_images`.

1. A file is what `docker save` writes, packed by zstd: any engine's `load` takes it. An image's id is the hash of its
   content, which the engine checks as it loads, so that the build's identity and the keys of its legs stay.
2. A file appears whole or not at all. Its zstd frame carries a check sum, and one that is cut or changed is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import zstandard

from migmatrix.harness.builds.prober import container_images
from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.files import PUBLIC, replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from migmatrix.harness.builds.facts import PreparedBuild

__all__ = ["SUFFIX", "export_images", "import_images"]

SUFFIX = ".tar.zst"
_CHUNK = 1 << 20


def export_images(builds: Iterable[PreparedBuild], directory: Path, log: Callable[[str], None]) -> list[Path]:
    """Write a file for each image that builds run from, in `directory`; the files, none for builds of this host.

    UserError when the directory cannot be written, EngineError when the engine does not hand an image out.
    """
    chosen = dict.fromkeys(build.image for build in builds if build.image)
    if not chosen:
        return []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with container_images() as images:
            return [_write(directory, *images.save(image), log) for image in chosen]
    except OSError as err:
        raise UserError(f"cannot write to {str(directory)!r}: {err.strerror}") from err


def import_images(paths: Iterable[Path], log: Callable[[str], None]) -> list[str]:
    """Load the images of files, and of all such files in directories; a line for each: name and id.

    UserError for what is no such file, before the engine names anything of it; EngineError when the engine refuses it.
    """
    loaded = []
    with container_images() as images:
        for path in _files(paths):
            log(f"loading {path}")
            _verify(path)
            loaded += images.load(_unpacked(path))
    return loaded


def _write(directory: Path, name: str, content: Iterator[bytes], log: Callable[[str], None]) -> Path:
    path = directory / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}{SUFFIX}"
    packer = zstandard.ZstdCompressor(write_checksum=True, threads=-1).compressobj()
    with replacing(path, PUBLIC) as new, new.open("wb") as file:
        for chunk in content:
            file.write(packer.compress(chunk))
        file.write(packer.flush())
    log(f"{name}: {path}, {path.stat().st_size >> 20} MiB")
    return path


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        found = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not found:
            raise UserError(f"no file *{SUFFIX} in {str(path)!r}")
        yield from found


def _verify(path: Path) -> None:
    """Read all of it once: the engine might name an image whose file is cut behind its last layer."""
    for _ in _unpacked(path):
        pass


def _unpacked(path: Path) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor().decompressobj()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield frame.decompress(chunk)
    except zstandard.ZstdError as err:
        raise UserError(f"{str(path)!r} is no image that `migmatrix builds export` wrote: {err}") from err
    except FileNotFoundError as err:
        raise UserError(f"there is no file {str(path)!r}") from err
    except OSError as err:
        raise StoreError(f"cannot read {str(path)!r}: {err.strerror}") from err
    if not frame.eof:
        raise UserError(f"{str(path)!r} is cut short")
