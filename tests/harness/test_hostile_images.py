# SPDX-License-Identifier: Apache-2.0
"""Images whose emulator replaces its standard error, in real containers: no host text, no hang, and others go on."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from debian import debian_build

from migmatrix.harness.builds import prepare
from migmatrix.harness.builds.image import ImageSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker
    from lab import Lab

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(600)]

QEMU = "/usr/bin/qemu-system-x86_64"
PUTS = {
    "link": "ln -s {secret} stderr",
    "fifo": "mkfifo stderr",
    "directory": "mkdir stderr",
    "sparse": "truncate -s 1T stderr",
}


def dockerfile(put: str) -> str:
    """An image that probes as QEMU does, and whose emulator does `put` in its job directory when it is to run."""
    script = f"""#!/bin/sh
case "$*" in *unix:*) ;; *) exec {QEMU}.real "$@";; esac
for word in "$@"; do case "$word" in *unix:*) socket=${{word#*unix:}}; socket=${{socket%%,*}};; esac; done
cd "$(dirname "$socket")" && rm -f stderr && {put}
exit 1
"""
    text = base64.b64encode(script.encode()).decode()
    return f"""FROM migmatrix/debian:trixie
USER root
RUN mv {QEMU} {QEMU}.real && echo {text} | base64 -d > {QEMU} && chmod 755 {QEMU}
"""


@pytest.fixture
def images(lab: Lab) -> Iterator[dict[str, str]]:
    debian_build("qemu-10.0")  # makes the image that they are made from
    secret = lab.root / "secret"
    secret.write_text("the host's own words")
    tags = {name: f"migmatrix-test/hostile:{name}" for name in PUTS}
    for name, put in PUTS.items():
        build = ["docker", "build", "-q", "--network", "none", "-t", tags[name], "-"]
        given = dockerfile(put.format(secret=secret)).encode()
        subprocess.run(build, input=given, capture_output=True, check=True)
    yield tags
    subprocess.run(["docker", "rmi", *tags.values()], capture_output=True, check=True)


def test_a_replaced_standard_error_tells_nothing_and_holds_nobody_up(
    lab: Lab, images: dict[str, str]
) -> None:
    builds = {"qemu": "migmatrix/debian:trixie", **images}
    matrix = lab.root / "lab.yaml"
    matrix.write_text(
        json.dumps(
            {
                "engine": "docker",
                "builds": {name: {"provider": "image", "image": image} for name, image in builds.items()},
                "machines": ["pc-q35-10.0"],
                "profiles": {"define": {"plain": {"args": ["-nodefaults", "-m", "64"]}}},
                "paths": {"pairs": "all"},
                "policy": {"retries": 0},
            }
        )
    )

    done = lab.run(matrix)

    assert "Traceback" not in done.stderr
    results = {tuple(record["path"]): record for record in lab.results().values()}
    assert len(results) == len(builds) ** 2
    assert results["qemu", "qemu"]["verdict"] == "pass", done.stderr
    assert {path for path, record in results.items() if record["verdict"] == "pass"} == {("qemu", "qemu")}
    for kind, told in (("link", "a symbolic link"), ("fifo", "a FIFO"), ("directory", "a directory")):
        assert f"stderr is {told}, not a plain file" in results[kind, kind]["cause"]["message"]
        assert (results[kind, kind]["verdict"], results[kind, kind]["cause"]["kind"]) == ("fail", "malformed")
    for place in ("out", "store"):
        files = [file for file in (lab.root / place).rglob("*") if file.is_file()]
        assert files
        assert not [file for file in files if b"the host's own words" in file.read_bytes()]


def test_another_environment_or_file_is_another_build(
    lab: Lab, container_engine: docker.DockerClient
) -> None:
    debian_build("qemu-10.0")
    base = "migmatrix/debian:trixie"
    changes = {"label": "LABEL a=b", "variable": "ENV LD_PRELOAD=/x", "file": "USER root\nRUN touch /x"}
    tags = {name: f"migmatrix-test/identity:{name}" for name in changes}
    try:
        for name, change in changes.items():
            container_engine.images.build(
                fileobj=io.BytesIO(f"FROM {base}\n{change}\n".encode()),
                tag=tags[name],
                network_mode="none",
                forcerm=True,
            )
        specs = {name: ImageSpec(id=name, image=tag) for name, tag in {"base": base, **tags}.items()}
        builds = prepare(specs, cache=lab.root / "cache", log=print)
    finally:
        for tag in tags.values():
            container_engine.images.remove(tag, force=True)

    digests = {name: build.facts.digest for name, build in builds.items()}
    assert digests["label"] == digests["base"]
    assert len({digests["base"], digests["variable"], digests["file"]}) == 3
