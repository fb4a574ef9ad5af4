# SPDX-License-Identifier: Apache-2.0
"""A harness whose files the engine does not see, as in a container with the engine's socket: said at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from debian import MATRICES

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(300)]

SELECT = ("machine=pc-q35-7.2", "profile=virtio-rng", "path=qemu-7.2>qemu-7.2")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a directory that the engine does not see")
def test_a_directory_that_the_engine_does_not_see_is_named(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare (util-linux)")
    unseen = Path("/mnt")
    run = [sys.executable, "-m", "migmatrix", "run", "-f", str(MATRICES / "debian.yaml")]
    run += [word for term in SELECT for word in ("--select", term)]
    run += ["--out", str(tmp_path / "run"), "--store", str(tmp_path / "store")]
    shell = 'mount -t tmpfs none "$TMPDIR" && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, "sh", *run],
        env={**os.environ, "TMPDIR": str(unseen)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    results = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert [result["verdict"] for result in results] == ["error"]
    assert "the container engine does not see '/mnt/migmatrix-0/" in results[0]["cause"]["message"]
