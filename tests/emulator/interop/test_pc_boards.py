# SPDX-License-Identifier: Apache-2.0
"""The PC boards of the emulator and of real QEMU exchange paused guests: `pc-q35-X.Y` and `pc-i440fx-X.Y` with and without cards.

Every cell of `TABLE` is run by the harness. ``e`` is the emulator, ``q`` real QEMU (Debian's
packages); what they are called is their line.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from analyze_migration import Opinion, compare, misled
from guests import IMAGES, Guest, contained, emulated
from lab import MIGMATRIX
from real_matrix import fetch

from migmatrix.harness.store import LegStore, default_store
from migmatrix.vmstate.view.compare import diff
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from analyze_migration import Script

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(600)]

# The emulator's release for a line: Debian's 7.2.22 has entries of compat tables that 7.2.0 has not.
RELEASES = {"5.2": "5.2", "7.2": "7.2.22", "10.0": "10.0", "11.1": "11.1"}
CARDS = (
    "virtio-net-pci,romfile=", "virtio-rng-pci", "virtio-blk-pci,drive=disk", "virtio-balloon-pci",
    "virtio-serial-pci", "virtio-scsi-pci", "virtio-gpu-pci", "VGA,romfile=", "qemu-xhci", "isa-serial,chardev=line",
)  # fmt: skip
BACKENDS = ("-blockdev", "null-co,node-name=disk,size=1048576", "-chardev", "null,id=line")
OWN_CARDS = {
    "q35": ("pcie-root-port,id=rp0,chassis=1,slot=1", "e1000e,romfile=,bus=rp0", "pcie-pci-bridge,id=pb"),
    "i440fx": ("pci-bridge,id=pb,chassis_nr=3", "e1000,romfile="),
}
# machine type, the lines that exchange guests of it
TABLE = {"7.2": ("7.2", "10.0"), "5.2": ("5.2", "7.2", "10.0")}
LINES = TABLE["5.2"]
PATHS = [path for a in LINES for b in LINES for path in (f"q{a}>e{b}>q{b}", f"e{a}>q{b}")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a store of legs in it; builds are those that every run here has."""
    root = tmp_path_factory.mktemp("boards")
    builds = default_store() / "builds"
    builds.mkdir(parents=True, exist_ok=True)
    (root / "store").mkdir()
    (root / "store" / "builds").symlink_to(builds)
    return root


@pytest.fixture(scope="module")
def results(root: Path) -> list[dict[str, Any]]:
    """What the harness says of all cells of `TABLE`."""
    (root / "matrix.yaml").write_text(json.dumps(matrix()))  # JSON is YAML
    command = [
        *MIGMATRIX,
        "run",
        "-f",
        str(root / "matrix.yaml"),
        "--store",
        str(root / "store"),
        "--out",
        str(root / "run"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in (root / "run" / "results.jsonl").read_text().splitlines()]


def matrix() -> dict[str, Any]:
    """Builds of both kinds, all boards, with and without cards; a machine that a build does not know is left out."""
    boards = {board: f"pc-{board}-*" for board in OWN_CARDS}
    cards = {
        f"cards-{board}": {"args": card_arguments(board), "machines": [glob]}
        for board, glob in boards.items()
    }
    real = {f"q{line}": {"provider": "debian", "suite": IMAGES[line]} for line in LINES}
    ours = {f"e{line}": {"provider": "emulator", "release": RELEASES[line]} for line in LINES}
    return {
        "builds": real | ours,
        "engine": "process",
        "machines": [f"pc-{board}-{version}" for board in boards for version in TABLE],
        "defaults": {"args": ["-m", "32", "-nodefaults"]},
        "profiles": {"define": {"bare": {"args": []}} | cards},
        "paths": {"pairs": "none", "explicit": PATHS},
    }


def card_arguments(board: str) -> list[str]:
    """All cards of a board, and what is behind them."""
    return [*BACKENDS, *(word for card in (*OWN_CARDS[board], *CARDS) for word in ("-device", card))]


def arguments(board: str, version: str, profile: str) -> list[str]:
    """The command line of both sides."""
    cards = card_arguments(board) if profile == "cards" else []
    return ["-M", f"pc-{board}-{version}", "-m", "32", "-S", *cards]


def start(kind: str, shared: Path, *words: str) -> AbstractContextManager[Guest]:
    """`kind` is e or q and a line."""
    who, line = kind[0], kind[1:]
    return emulated(RELEASES[line], *words) if who == "e" else contained(line, shared, *words)


def save(kind: str, words: list[str], target: Path) -> Path:
    """Start one and save to `target`."""
    with start(kind, target.parent, *words) as guest:
        guest.command("migrate", uri=f"exec:cat > {target}")
        assert guest.status("completed", "failed")["status"] == "completed"
    return target


@pytest.mark.parametrize("profile", ["bare", "cards"])
@pytest.mark.parametrize("board", list(OWN_CARDS))
@pytest.mark.parametrize("version", list(TABLE))
def test_guests_go_both_ways(
    results: list[dict[str, Any]], root: Path, version: str, board: str, profile: str
) -> None:
    """Born in real QEMU, through the emulator of either line, into real QEMU again; and born in the emulator."""
    found = [
        r for r in results if r["machine"] == f"pc-{board}-{version}" and r["profile"].startswith(profile)
    ]
    assert len(found) == 2 * len(TABLE[version]) ** 2
    assert {">".join(r["path"]): r["verdict"] for r in found if r["verdict"] != "pass"} == {}
    store = LegStore(root / "store", print)
    same = {
        tuple(r["hops"][:2]) for r in found if r["path"][0][1:] == r["path"][1][1:] and len(r["path"]) == 3
    }
    assert len(same) == len(TABLE[version])
    for real, emulated_ in same:
        changes = diff(read_stream(saved(store, real)), read_stream(saved(store, emulated_)))
        assert [change for change in changes if not change.volatile] == []


def saved(store: LegStore, key: str) -> bytes:
    """The stream that a leg left."""
    data = fetch(store, key)
    assert data is not None
    return data


@pytest.mark.parametrize("line", ["5.2", "7.2", "10.0", "11.1"])
@pytest.mark.parametrize("board", ["q35", "i440fx"])
def test_a_board_has_the_same_sections_in_the_same_order(board: str, line: str, tmp_path: Path) -> None:
    words = arguments(board, line, "cards")
    real, ours = (
        read_stream(save(kind, words, tmp_path / kind).read_bytes()).sections
        for kind in (f"q{line}", f"e{line}")
    )
    assert list(dict.fromkeys(s.key for s in real)) == list(dict.fromkeys(s.key for s in ours))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the script leaves its files open
@pytest.mark.parametrize("line", list(RELEASES))
def test_qemus_own_script_reads_the_emulators_boards(line: str, script: Script, tmp_path: Path) -> None:
    opinion = Opinion()
    for board in ("q35", "i440fx"):
        kept = readable(line, arguments(board, line, "cards"), tmp_path / board)
        compare(read_stream(kept.read_bytes()), script(kept), opinion)
    assert opinion.streams == 2
    assert not opinion.unexplained, opinion


def readable(line: str, words: list[str], target: Path) -> Path:
    """A save whose description the script finds: it takes a ``{`` in the length before it for its begin.

    One card more makes another length, so that no board is left out because of it.
    """
    for more in range(4):
        save(f"e{line}", words + more * ["-device", "virtio-rng-pci"], target)
        if not misled(target.read_bytes()):
            return target
    raise AssertionError("a description's length misleads the script whatever is added")
