# SPDX-License-Identifier: Apache-2.0
"""Files of images that are not what `builds export` wrote, told before an engine loads any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zstandard

from migmatrix.harness.builds.archives import SUFFIX, import_images
from migmatrix.harness.errors import EngineError, UserError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(range(256)) * 4096)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD[:-1], "is cut short"),
        (GOOD[: len(GOOD) // 2], "is cut short"),
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "is no image that `migmatrix builds export` wrote"),
        (b"text", "is no image that `migmatrix builds export` wrote"),
        (b"", "is cut short"),
        (None, "there is no file"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / f"image{SUFFIX}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        import_images([path], print)
    assert said in str(caught.value)
    assert repr(str(path)) in str(caught.value)


def test_a_directory_without_images_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        import_images([tmp_path], print)


def test_what_the_engine_cannot_load_is_its_error(tmp_path: Path) -> None:
    path = tmp_path / f"image{SUFFIX}"
    path.write_bytes(GOOD)
    with pytest.raises(EngineError, match="cannot load an image"):
        import_images([path], print)
