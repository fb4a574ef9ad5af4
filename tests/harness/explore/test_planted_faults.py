# SPDX-License-Identifier: Apache-2.0
"""Faults planted in the reference emulator, and what a search finds of them; all twenty are `tests/bench/run.py explore`."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from planted import FAULTS, NEW, Q35, ROOT, Fault, matrix_of, plant
from typer.testing import CliRunner

from migmatrix.harness.commands.main import app

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.builds.bundle import Bundle

BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """A build with three faults."""
    root = tmp_path_factory.mktemp("planted")
    faults = [BY_NAME["parallel-mode"], BY_NAME["serial-shared"], BY_NAME["memory-entry"]]
    return Planted(root, plant(faults, root / "planted", root / "store" / "builds"))


@dataclass
class Planted:
    """Where a bundle with faults is, and the leg store of searches in it."""

    root: Path
    bundle: Bundle

    def search(self, *words: str, **changes: Any) -> tuple[int, dict[str, Any], str]:
        """Exit code, findings by key, and the log of a search, on pc-i440fx-10.0 where `changes` name no other."""
        matrix = matrix_of(self.bundle, **{"machines": ["pc-i440fx-10.0"], **changes})
        (self.root / "matrix.yaml").write_text(json.dumps(matrix))
        where = ["-f", self.root / "matrix.yaml", "--store", self.root / "store", "--out", self.root / "out"]
        done = CliRunner().invoke(app(), ["explore", *map(str, where), "-j", "3", "--json", *words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, {f["key"]: f for f in json.loads(done.stdout)["findings"]}, done.stderr


def test_there_are_twenty_faults_of_as_many_kinds() -> None:
    assert len(FAULTS) == len({f.kind for f in FAULTS}) == len({f.key for f in FAULTS}) == len(BY_NAME) == 20


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_the_source_that_is_there(fault: Fault, tmp_path: Path) -> None:
    top, _, rest = fault.file.partition("/")
    original = ROOT / rest if top == "data" else ROOT / fault.file
    copy = tmp_path / fault.file
    copy.parent.mkdir(parents=True)
    shutil.copy(original, copy)
    fault.apply(tmp_path)
    changed = copy.read_text()
    assert changed != original.read_text()
    if copy.suffix == ".py":
        compile(changed, str(copy), "exec")


@pytest.mark.parametrize(("name", "device", "depth", "shown"), [
    ("parallel-mode", "isa-parallel", 1, ["-device", "isa-parallel"]),
    ("serial-shared", "isa-serial", 2, ["-device", "isa-serial"] * 2),
])  # fmt: skip
def test_a_fault_is_found_and_no_other(
    name: str, device: str, depth: int, shown: list[str], planted: Planted
) -> None:
    code, found, log = planted.search("--devices", device, "--depth", str(depth))
    assert (code, list(found)) == (1, [BY_NAME[name].key]), log
    (finding,) = found.values()
    assert (finding["kind"], finding["steady"]) == ("break", True)
    assert finding["arguments"][-len(shown) :] == shown
    assert {pair: words.partition(" ")[0] for pair, words in finding["pairs"].items()} == {
        "old>old": "pass", "old>planted": "pass", "planted>old": "fail", "planted>planted": "pass",
    }  # fmt: skip


def test_a_planted_build_alone_shows_nothing(planted: Planted) -> None:
    """Its faults are between builds: what it saves it loads."""
    alone = {"planted": {"provider": "binary", "path": str(planted.bundle.binary(NEW))}}
    code, found, _ = planted.search("--devices", "isa-serial", "--budget", "80", builds=alone)
    assert (code, found) == (0, {})


@pytest.mark.slow
def test_plain_devices_show_what_every_one_of_them_has(tmp_path: Path) -> None:
    names = {"gpu-outputs", "parallel-mode", "ne2000-version", "port-renamed", "memory-entry", "cirrus-check"}
    faults = [BY_NAME[name] for name in names]
    planted = Planted(tmp_path, plant(faults, tmp_path / "planted", tmp_path / "store" / "builds"))
    code, found, log = planted.search("--depth", "1", machines=["pc-q35-7.2", "pc-i440fx-10.0"])
    assert code == 1, log
    assert {fault.name for fault in FAULTS if fault.is_seen(found)} == names
    assert all(finding["kind"] in ("break", "unmigratable") for finding in found.values())


@pytest.mark.slow
def test_a_build_without_faults_shows_none(tmp_path: Path) -> None:
    """The two releases as they are differ in nothing that plain devices and topologies show."""
    planted = Planted(tmp_path, plant((), tmp_path / "planted", tmp_path / "store" / "builds"))
    code, found, log = planted.search("--depth", "1", machines=["pc-q35-7.2", "pc-i440fx-10.0"])
    assert (code, {f["kind"] for f in found.values()}) == (0, {"unmigratable"}), log


def test_what_breaks_among_others_is_found_alone(planted: Planted) -> None:
    """On a machine type that is not the first of its family plain devices share a guest; the fault is of one of them."""
    machines = [Q35, "pc-q35-7.2"]
    code, found, log = planted.search("--devices", "virtio-???-pci", "--depth", "1", machines=machines)
    assert (code, set(found)) == (1, {BY_NAME["memory-entry"].key, "missing-footer virtio-mem"}), log
    assert {f["machine"] for f in found.values()} == {"pc-q35-7.2"}
    assert {f["candidate"] for f in found.values()} == {"virtio-mem-pci"}, "and no guest of many"
    assert not any("virtio-rng-pci" in word for f in found.values() for word in f["arguments"])
