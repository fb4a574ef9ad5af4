# SPDX-License-Identifier: Apache-2.0
"""Preparing builds: local binaries without an engine, images with a real one."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.builds import BuildSpec, PreparedBuild, lookup, prepare
from migmatrix.harness.builds.binary import BinarySpec
from migmatrix.harness.builds.debian import DebianSpec, Labels, _output
from migmatrix.harness.builds.image import ImageSpec
from migmatrix.harness.builds.images import Images
from migmatrix.harness.errors import BuildError, EngineError, UnusableBuild, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker

# Enough of an emulator for the probe: it answers on QMP and to two kinds of help.
EMULATOR = """\
#!{python}
import json, sys
args = sys.argv[1:]
if "-L" in args:
    print({firmware!r})
elif "-device" in args:
    print('name "virtio-rng-pci", bus PCI, alias "virtio-rng"')
else:
    answers = {{
        "query-version": {{"qemu": {{"major": 9, "minor": 1, "micro": 2}}, "package": ""}},
        "query-machines": [{{"name": "pc-q35-9.1", "alias": "q35"}}],
        "query-migrate-capabilities": [{{"capability": "multifd", "state": False}}],
    }}
    print(json.dumps({{"QMP": {{}}}}))
    for line in sys.stdin:
        command = json.loads(line)
        answer = {{"return": answers.get(command["execute"], {{}})}}
        print(json.dumps(answer | {{"id": command["id"]}} if "id" in command else answer), flush=True)
        if command["execute"] == "quit":
            break
"""


@pytest.fixture
def emulator(tmp_path: Path) -> Path:
    firmware = tmp_path / "share"
    firmware.mkdir()
    (firmware / "bios.bin").write_bytes(b"firmware")
    path = tmp_path / "bin" / "qemu"
    path.parent.mkdir()
    path.write_text(EMULATOR.format(python=sys.executable, firmware=str(firmware)))
    path.chmod(0o755)
    return path


def binary(id_: str, path: Path | str, *args: str) -> dict[str, BuildSpec]:
    return {id_: BinarySpec(id=id_, path=str(path), args=args)}


def test_local_binary(tmp_path: Path, emulator: Path) -> None:
    specs = binary("a", emulator) | binary("b", emulator, "-global", "x=y")
    builds = prepare(specs, cache=tmp_path / "cache", log=pytest.fail)
    assert list(builds) == ["a", "b"]
    a, b = builds.values()
    assert (a.facts.version, a.image, a.binary) == ("9.1.2", "", str(emulator))
    assert a.facts.devices == ("virtio-rng", "virtio-rng-pci")
    assert a.facts.knows_machine("q35")
    assert b.args == ("-global", "x=y")
    assert a.facts == b.facts


def test_digest_covers_firmware_and_emulator(tmp_path: Path, emulator: Path) -> None:
    def digest() -> str:
        return prepare(binary("a", emulator), cache=tmp_path / "cache")["a"].facts.digest

    before = digest()
    assert digest() == before
    (tmp_path / "share" / "bios.bin").write_bytes(b"other firmware")
    changed = digest()
    assert changed != before
    emulator.write_text(emulator.read_text() + "# a change\n")
    assert digest() not in {before, changed}


def test_damaged_probe_is_made_again_and_said(tmp_path: Path, emulator: Path) -> None:
    cache = tmp_path / "cache"
    before = prepare(binary("a", emulator), cache=cache)
    (entry,) = (cache / "probes").iterdir()
    entry.write_bytes(entry.read_bytes()[:20])
    log: list[str] = []
    assert prepare(binary("a", emulator), cache=cache, log=log.append) == before
    assert "damaged" in log[0]
    assert json.loads(entry.read_bytes())["version"] == "9.1.2"


def test_binary_that_is_not_there(tmp_path: Path) -> None:
    specs = binary("a", tmp_path / "none")
    assert lookup(specs, cache=tmp_path) == {"a": None}
    with pytest.raises(UserError, match=r"build 'a': there is no emulator '.*none'"):
        prepare(specs, cache=tmp_path)


def test_binary_that_is_not_executable(tmp_path: Path) -> None:
    (tmp_path / "qemu").write_text("#!/bin/sh\n")
    with pytest.raises(UserError, match="is not executable"):
        prepare(binary("a", tmp_path / "qemu"), cache=tmp_path)


def test_binary_that_is_no_emulator(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="build 'a': '/bin/true' is not an emulator"):
        prepare(binary("a", "/bin/true"), cache=tmp_path)


def test_engine_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineError, match="cannot reach the container engine"):
        prepare({"a": ImageSpec(id="a", image="x")}, cache=tmp_path)
    gc.collect()


def test_output_of_a_failing_command_ends_with_its_first_error() -> None:
    chunks = _output(["sh", "-c", "printf abc; printf 'E: no such suite\\nE: failed\\n' >&2; exit 3"])
    assert next(chunks) == b"abc"
    with pytest.raises(BuildError, match="'sh' failed with status 3: 'E: no such suite'"):
        next(chunks)


# With a real engine. The suite is prepared by `migmatrix builds prepare`, or here.

SUITE = "trixie"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def debian(cache: Path, container_engine: docker.DockerClient) -> PreparedBuild:  # noqa: ARG001 - it must be there
    return prepare({"a": DebianSpec(id="a", suite=SUITE)}, cache=cache)["a"]


@pytest.fixture
def derived(debian: PreparedBuild) -> Iterator[str]:
    """The same image without `sha256sum`."""
    name = "migmatrix-test/no-sha256sum"
    with Images() as images:
        images.build(f"FROM {debian.image}\nRUN rm /usr/bin/sha256sum\n", tag=name)
        yield name
        images.remove(name)


@pytest.mark.qemu
@pytest.mark.slow
def test_debian_image_is_labelled_and_found_again(debian: PreparedBuild, cache: Path) -> None:
    specs = {
        "b": DebianSpec(id="b", suite=SUITE),
        "c": DebianSpec(id="c", suite=SUITE, args=("-global", "x=y")),
    }
    again = prepare(specs, cache=cache, log=pytest.fail)
    assert again == lookup(specs, cache=cache, log=pytest.fail)
    assert {build.image for build in again.values()} == {debian.image}
    assert again["c"].args == ("-global", "x=y")
    with Images() as images:
        found = images.find(f"migmatrix/debian:{SUITE}")
    assert found is not None
    assert found.labels[Labels.DIGEST] == debian.facts.digest
    assert found.labels[Labels.VERSION] == debian.facts.package
    assert debian.facts.package in debian.origin


@pytest.mark.qemu
@pytest.mark.slow
def test_debian_build_says_what_it_can_do(debian: PreparedBuild) -> None:
    assert debian.binary == "/usr/bin/qemu-system-x86_64"
    assert debian.facts.knows_machine("pc-q35-7.2")
    assert {"virtio-net-pci", "qxl-vga", "virtio-net"} <= set(debian.facts.devices)
    assert {"multifd", "postcopy-ram"} <= set(debian.facts.capabilities)


@pytest.mark.qemu
@pytest.mark.slow
def test_an_image_without_sha256sum_is_another_one_with_the_same_emulator(
    debian: PreparedBuild, derived: str, cache: Path
) -> None:
    """Its digest is that of its layers, which no program in it is asked for."""
    build, again = (prepare({"i": ImageSpec(id="i", image=derived)}, cache=cache)["i"] for _ in range(2))
    assert replace(build.facts, digest="") == replace(debian.facts, digest="")
    assert build.facts.digest == again.facts.digest != debian.facts.digest
    assert build.image != debian.image


@pytest.mark.qemu
@pytest.mark.slow
def test_missing_image_and_missing_emulator_are_named(debian: PreparedBuild, cache: Path) -> None:
    with pytest.raises(UserError, match="build 'i': there is no image 'migmatrix-test/none:1'"):
        prepare({"i": ImageSpec(id="i", image="migmatrix-test/none:1")}, cache=cache)
    spec = ImageSpec(id="i", image=debian.image, binary="qemu-system-none")
    with pytest.raises(UserError, match="build 'i': there is no emulator 'qemu-system-none'"):
        prepare({"i": spec}, cache=cache)


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.usefixtures("container_engine")
def test_interrupted_import_leaves_nothing() -> None:
    def root() -> Iterator[bytes]:
        yield bytes(10240)
        raise BuildError("interrupted")

    with Images() as images:
        with pytest.raises(BuildError, match="interrupted"):
            images.import_root(root(), f"{Labels.STATE}=unfinished-test")
        assert images.unfinished(f"{Labels.STATE}=unfinished-test") == []


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.usefixtures("container_engine")
@pytest.mark.parametrize(
    ("spec", "key", "said"),
    [
        (DebianSpec(id="n", suite="bookwurm"), "suite", "no suite 'bookwurm': did you mean 'bookworm'"),
        (DebianSpec(id="n", suite="sid-backport"), "suite", "no suite 'sid-backport'"),
        (DebianSpec(id="n", suite="trixie", package="qemu-system-ppx", binary="x"), "package",
         "'trixie' has no package 'qemu-system-ppx': did you mean 'qemu-system-ppc'"),
    ],
)  # fmt: skip
def test_what_the_mirror_lacks_is_the_users_mistake(
    cache: Path, spec: DebianSpec, key: str, said: str
) -> None:
    with pytest.raises(UnusableBuild, match=said) as caught:
        prepare({"n": spec}, cache=cache)
    assert caught.value.key == key
    assert lookup({"n": spec}, cache=cache) == {"n": None}


@pytest.mark.qemu
@pytest.mark.slow
def test_install_engine_finds_a_running_engine(pytestconfig: pytest.Config) -> None:
    script = pytestconfig.rootpath / "scripts" / "install-engine"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert "--stop" in done.stdout
    done = subprocess.run([script, "--wrong"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unknown option '--wrong'" in done.stderr
