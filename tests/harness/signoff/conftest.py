# SPDX-License-Identifier: Apache-2.0
"""One small release for all tests of sign-offs: the run takes seconds, signing it does not."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from signed import Release, waiver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def made() -> Iterator[Release]:
    """The run, in a directory short enough for UNIX sockets."""
    root = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    yield Release.make(root)
    shutil.rmtree(root)


@pytest.fixture
def release(made: Release, tmp_path: Path) -> Release:
    """A copy to change."""
    shutil.copytree(made.run, tmp_path / "run")
    for name in ("key.pem", "key.pub.pem"):
        shutil.copyfile(made.root / name, tmp_path / name)
    return Release(tmp_path)


@pytest.fixture
def signed(release: Release) -> Release:
    """The same, signed in `signed`."""
    done = release.sign(release.policy([waiver()], max_age="7d"))
    assert done.decision.reasons == ()
    return release
