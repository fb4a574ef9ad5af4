# SPDX-License-Identifier: Apache-2.0
"""What a matrix file says arrives in the record."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migmatrix.harness.builds.binary import BinarySpec
from migmatrix.harness.builds.debian import DebianSpec
from migmatrix.harness.builds.emulator import EmulatorSpec
from migmatrix.harness.builds.image import ImageSpec
from migmatrix.harness.config import ChainRule, MachineRule, Matrix, PathRule, load_matrix
from migmatrix.harness.config.nodes import parse_document
from migmatrix.harness.errors import ConfigError
from migmatrix.harness.model import Guest, Mode, Profile, Stage

FULL = """\
builds:
  qemu-5.2: {provider: debian, suite: bullseye}
  aer: {provider: debian, suite: trixie, package: p, args: [-global, a.b=on], explicit: true}
  mine: {provider: binary, path: bin/qemu}
  img: {provider: image, image: "name:tag", binary: qemu-kvm}
  emu: {provider: emulator, release: "8.0"}
engine: process
machines:
  - pc-q35-7.2
  - {common: pc-i440fx, only: ["5.2", newest]}
defaults: {args: &common [-m, "64"]}
profiles:
  file: sub/profiles.yaml
  use: [virtio-*]
  define: {own: {args: *common, machines: ["pc-*"], description: text}}
paths:
  pairs: ["qemu-5.2>mine", "mine > mine"]
  chains: {length: [3, 4], repeats: false, sample: 20, seed: 7}
  explicit: ["mine>aer>mine", {path: mine>emu, profiles: [own]}]
modes:
  - snapshot
  - unix
  - name: many
    transport: tcp
    capabilities: [multifd]
    parameters: {multifd-channels: 4, compress: none}
    source: {parameters: {max-bandwidth: 0}}
    destination: {capabilities: [postcopy-ram]}
guests: [paused, {name: long, kind: firmware, seconds: 2}]
known_issues: known.yaml
policy: {deadline: {load: 5}, retries: 0, blocked: regression}
"""


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/profiles.yaml").write_text("virtio-net: {args: [-device, v]}\ne1000: {args: []}\n")
    (tmp_path / "known.yaml").write_text("[]\n")
    path = tmp_path / "matrix.yaml"
    path.write_text(FULL)
    return load_matrix(path)


def test_builds(matrix: Matrix, tmp_path: Path) -> None:
    assert list(matrix.builds.values()) == [
        DebianSpec(id="qemu-5.2", suite="bullseye"),
        DebianSpec(id="aer", suite="trixie", package="p", args=("-global", "a.b=on")),
        BinarySpec(id="mine", path=str(tmp_path / "bin/qemu")),
        ImageSpec(id="img", image="name:tag", binary="qemu-kvm"),
        EmulatorSpec(id="emu", release="8.0"),
    ]
    assert matrix.explicit_builds == {"aer"}


def test_axes(matrix: Matrix) -> None:
    assert matrix.machines == (
        MachineRule(name="pc-q35-7.2"),
        MachineRule(common="pc-i440fx", only=("5.2", "newest")),
    )
    assert matrix.profiles == (
        Profile("virtio-net", ("-device", "v")),
        Profile("own", ("-m", "64"), ("pc-*",), "text"),
    )
    assert matrix.default_args == ("-m", "64")
    assert matrix.guests == (Guest("paused", "paused"), Guest("long", "firmware", 2.0))


def test_paths(matrix: Matrix) -> None:
    assert matrix.pairs == (PathRule(("qemu-5.2", "mine")), PathRule(("mine", "mine")))
    assert matrix.chains == ChainRule((3, 4), repeats=False, sample=20, seed=7)
    assert matrix.explicit == (
        PathRule(("mine", "aer", "mine")),
        PathRule(("mine", "emu"), profiles=("own",)),
    )


def test_modes(matrix: Matrix) -> None:
    assert matrix.modes == (
        Mode("snapshot"),
        Mode("unix", "unix"),
        Mode(
            "many",
            "tcp",
            ("multifd",),
            (("compress", "none"), ("multifd-channels", 4)),
            source_parameters=(("max-bandwidth", 0),),
            destination_capabilities=("postcopy-ram",),
        ),
    )


def test_the_rest(matrix: Matrix, tmp_path: Path) -> None:
    assert matrix.engine == "process"
    assert matrix.known_issues == tmp_path / "known.yaml"
    assert (matrix.policy.deadlines[Stage.LOAD], matrix.policy.retries) == (5.0, 0)
    assert set(matrix.policy.deadlines) == set(Stage)
    assert matrix.policy.blocked == "regression"


def test_named_parts_have_positions(matrix: Matrix, tmp_path: Path) -> None:
    name = str(tmp_path / "sub/profiles.yaml")
    assert str(matrix.mistake("m", "profiles", "virtio-net")) == f"{name}:1:1: m"
    assert str(matrix.mistake("m", "machines", 1)) == f"{matrix.file}:10:5: m"
    assert str(matrix.mistake("m", "nowhere")) == "m"


TOKENS = re.findall(r"[\w.\"*-]+|[^\w]", FULL.replace("known_issues: known.yaml\n", ""))
ODD = [
    "9.10",
    "no",
    "null",
    "[]",
    "{}",
    "[{}]",
    "{a: b}",
    "-1",
    "1.5",
    "''",
    "2030-01-31",
    "*common",
    ">",
    "\n",
]


@settings(max_examples=300)
@given(st.integers(0, len(TOKENS) - 1), st.sampled_from(ODD), st.booleans())
def test_a_changed_file_is_a_matrix_or_a_mistake_of_one_line(place: int, odd: str, extra: bool) -> None:
    tokens = [*TOKENS[:place], odd, *TOKENS[place + (not extra) :]]
    with TemporaryDirectory() as directory:
        path = Path(directory) / "matrix.yaml"
        path.write_text("".join(tokens).replace("  file: sub/profiles.yaml\n  use: [virtio-*]\n", ""))
        try:
            assert load_matrix(path).builds
        except ConfigError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017 - either way is right


@given(st.text(max_size=60))
def test_any_text_is_a_document_or_a_mistake_of_one_line(text: str) -> None:
    try:
        document = parse_document(text, "f")
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - either way is right
    else:
        assert () in document.values


@given(st.text("-+.:_0123456789abefnoxyEOZ~", min_size=1, max_size=12))
def test_an_unquoted_scalar_keeps_its_text_or_is_refused(text: str) -> None:
    """Text arrives as it was written; a number or word is told apart from text by its type."""
    try:
        document = parse_document(f"[{text}]", "f")
    except ConfigError:
        return
    for value in document.data:
        assert value is None or isinstance(value, dict | bool | int | float) or str(value) in text
