# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def real_none() -> dict[str, bytes]:
    """What real QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3 saved of `-M none -m 1 -S`."""
    return {file.name[5:-3]: gzip.decompress(file.read_bytes()) for file in DATA.glob("none-*.gz")}
